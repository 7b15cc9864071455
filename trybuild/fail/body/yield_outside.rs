async fn helper() {
    yield_!(1);
}

fn main() {
    let _ = helper();
}
