//! What the compiler says of an endpoint. `TRYBUILD=overwrite cargo test -p trybuild-cases` writes the messages anew.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("pass/*.rs");
    cases.compile_fail("fail/*/*.rs");
}
