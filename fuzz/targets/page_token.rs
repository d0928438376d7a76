//! A page token comes from a client: without the key nobody makes one that is read.
#![no_main]

use ambit::grpc::page_token::{Binding, PageTokens};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let tokens = PageTokens::new([7; 32]);
    let binding = Binding::new("ListAccessible", &["acme", "lena", "view", "contact"]);
    match tokens.decode(&binding, text) {
        // No token asks for the first page.
        Ok(None) => assert!(text.is_empty()),
        Ok(Some(place)) => panic!("a forged token was read: {place:?}"),
        Err(failure) => drop(std::hint::black_box(failure)),
    }
});
