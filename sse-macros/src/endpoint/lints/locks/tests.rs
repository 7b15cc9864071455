use syn::Block;

use super::held_across_yield;

fn held(code: &str) -> Vec<String> {
    let block: Block = syn::parse_str(code).unwrap();
    let held = held_across_yield(&block.stmts);
    held.into_iter().map(|held| held.call).collect()
}

#[test]
fn guards_held_across_a_yield_are_reported() {
    for code in [
        "{ let a = b.lock().await; yield_!(a.c); }",
        "{ let mut a: Guard = b.lock().await; loop { yield_!(1); } }",
        "{ let _a = b.lock().await; yield_all!(c()); }",
        "{ let a = b.clone().lock_owned().await; if c { yield_!(1); } }",
        "{ loop { let a = b.read().await; for c in a.iter() { yield_!(c); } } }",
        "{ let a = b.write().await; tokio::select! { c = d() => yield_!(c), } }",
        "{ let a = b.lock().await; { drop(c); } yield_!(*a); }",
        "{ let a = b.lock().await; yield_!(1); drop(a); }",
        "{ let a = b.lock().await; let c = a; yield_!(1); }",
        "{ let a = b.try_lock().unwrap(); yield_!(1); }",
        "{ let Ok(a) = b.try_lock() else { return }; yield_!(1); }",
        "{ if let Ok(a) = b.try_write() { yield_!(1); } }",
        "{ let a = timeout(c, b.lock()).await?; yield_!(1); }",
        "{ for a in b.lock().await.iter() { yield_!(a); } }",
        "{ while let Some(a) = b.lock().await.recv().await { yield_!(a); } }",
        "{ if let Some(a) = b.read().await.get(c) { yield_!(a); } }",
        "{ match b.lock().await.kind { c => yield_!(1), _ => {} } }",
        "{ match b.lock().await { a => yield_!(1) } }",
    ] {
        assert_eq!(held(code).len(), 1, "{code}: {:?}", held(code));
    }
}

#[test]
fn released_guards_are_not_reported() {
    for code in [
        "{ let a = b.lock().await; drop(a); yield_!(1); }",
        "{ let a = b.lock().await; std::mem::drop(a); yield_!(1); }",
        "{ { let a = b.lock().await; c(&a); } yield_!(1); }",
        "{ let c = { let a = b.lock().await; a.clone() }; yield_!(c); }",
        "{ let a = b.lock().await.clone(); yield_!(a); }",
        "{ let a = *b.lock().await; yield_!(a); }",
        "{ let _ = b.lock().await; yield_!(1); }",
        "{ yield_!(b.lock().await.c); }",
        "{ yield_!(1); let a = b.lock().await; c(&a); }",
        "{ loop { let a = b.lock().await; c(&a); drop(a); yield_!(1); } }",
        "{ if b.lock().await.is_empty() { yield_!(1); } }",
        "{ while b.lock().await.pop().is_some() { yield_!(1); } }",
        "{ let a = b.lock().await; if c { drop(a); yield_!(1); return; } d(&a); }",
        "{ let a = b.lock().await; finish(a); yield_!(1); }",
        "{ let a = b.lock().await; let c = RwLockWriteGuard::downgrade(a); yield_!(1); }",
        "{ let a = b.lock().await; spawn(async move { a.c() }); yield_!(1); }",
        "{ let a = b.lock().await; select! { c = d() => { drop(a); yield_!(1); } } }",
        "{ let a = file.read(&mut buffer).await; yield_!(1); }",
        "{ let a = socket.read().await?; yield_!(1); }",
        "{ while let Some(a) = socket.read().await { yield_!(1); } }",
        "{ let Some(a) = b.lock().await.pop() else { return }; yield_!(a); }",
        "{ if let Ok(a) = b.try_lock() { drop(a); yield_!(1); } }",
        "{ let a = stdout().lock(); yield_!(1); }",
        "{ let a = async { let c = b.lock().await; c.d }; yield_!(a.await); }",
    ] {
        assert_eq!(held(code), [""; 0], "{code}");
    }
}

#[test]
fn each_guard_is_reported_once() {
    let code =
        "{ let a = b.lock().await; yield_!(1); yield_!(2); let c = d.read().await; yield_!(3); }";
    assert_eq!(held(code), ["lock", "read"]);
}
