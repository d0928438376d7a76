//! A revision token comes from a client: it is read and written back bytewise, or malformed.
#![no_main]

use ambit::authz::model::Id;
use ambit::revision::RevisionToken;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(token) = RevisionToken::decode(text) {
        assert_eq!(token.encode(), text, "two texts of one token");
        let account = Id::parse("acme").expect("a plain id");
        // Whose it is may well be refused; it never panics.
        let _ = token.head_of(*b"epoch-01", &account);
    }
});
