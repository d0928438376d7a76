//! A catalog comes from a user: whatever it is, it compiles or is refused, in bounded time.
#![no_main]

use ambit::authz::catalog::Catalog;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(catalog) = Catalog::parse(text) {
        // What compiled once compiles again, to the same.
        let again = Catalog::parse(text).expect("the same text was refused the second time");
        assert_eq!(catalog.name, again.name);
    }
});
