//! Finds blocking calls, detached tasks and busy loops. Such code compiles, but it stalls the
//! stream or outlives it.
//!
//! A function call is reported only if its path starts with a crate name, so a call to a local
//! function named `sleep` is not reported. Closures are skipped because
//! `spawn_blocking(|| std::fs::read(…))` is correct.

use proc_macro2::{Span, TokenTree};
use quote::ToTokens as _;
use syn::{
    Expr, ExprCall, ExprMethodCall, ExprPath, Item, Local, Macro, Pat, Stmt,
    visit::{self, Visit},
};

use super::loops::EndlessLoop;
use crate::endpoint::body::yields::{Operand, Yield, operand};

pub(crate) enum Suspect {
    /// A call that blocks the thread.
    Blocks {
        at: Span,
        call: String,
        way_out: String,
    },
    /// A task whose handle is dropped.
    Detached { at: Span },
    /// A loop that never yields to the executor.
    Spins { at: Span, is_empty: bool },
}

/// Checks the statements before they are rewritten.
pub(crate) fn find(statements: &[Stmt]) -> Vec<Suspect> {
    let mut finder = Finder {
        found: Vec::new(),
        in_async_block: false,
    };
    for statement in statements {
        finder.visit_stmt(statement);
    }
    finder.found
}

struct Finder {
    found: Vec<Suspect>,
    in_async_block: bool,
}

impl Finder {
    fn call(&mut self, ExprCall { func, .. }: &ExprCall) {
        if let Some((path, at)) = written_path(func)
            && let Some(way_out) = instead_of_call(&segments(&path))
        {
            self.blocks(at, path.join("::"), way_out);
        }
    }

    fn method_call(&mut self, call: &ExprMethodCall) {
        let name = call.method.to_string();
        let way_out = match name.as_str() {
            // Many types have a method called `open`, so `OpenOptions::open` is recognized by the
            // start of the call chain.
            "open" if begins_with_options(call) => "use `tokio::fs::OpenOptions`",
            name => match instead_of_method(name) {
                Some(way_out) => way_out,
                None => return,
            },
        };
        self.blocks(
            call.method.span(),
            format!(".{name}(…)"),
            way_out.to_owned(),
        );
    }

    fn blocks(&mut self, at: Span, call: String, way_out: String) {
        self.found.push(Suspect::Blocks { at, call, way_out });
    }

    fn check_loop(&mut self, expr: &Expr) {
        let before = self.found.len();
        visit::visit_expr(self, expr);
        // The loop does not need a warning if a blocking call or a loop inside it has already been
        // reported.
        let blamed = self.found.len() > before;
        if let Some(endless) = EndlessLoop::of(expr)
            && !self.in_async_block
            && !blamed
            && endless.is_busy()
        {
            self.found.push(Suspect::Spins {
                at: endless.keyword,
                is_empty: endless.is_empty(),
            });
        }
    }

    /// Checks an expression whose value is dropped immediately.
    fn check_dropped(&mut self, expr: &Expr) {
        if let Expr::Call(ExprCall { func, .. }) = expr
            && let Some((path, at)) = written_path(func)
            && matches!(
                segments(&path)[..],
                ["tokio", "spawn"] | ["tokio", "task", "spawn"]
            )
        {
            self.found.push(Suspect::Detached { at });
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if is_conditional(statement) {
            return;
        }
        match statement {
            Stmt::Expr(expr, Some(_)) => self.check_dropped(expr),
            Stmt::Local(Local {
                pat,
                init: Some(init),
                ..
            }) if is_wild(pat) => self.check_dropped(&init.expr),
            _ => {}
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        match expr {
            Expr::Closure(_) => return,
            // Do not check the arguments, because they might be closures or futures that run
            // elsewhere.
            Expr::Call(call) if runs_elsewhere(&call.func) => return,
            Expr::MethodCall(call) if call.method == SPAWN_BLOCKING => {
                return self.visit_expr(&call.receiver);
            }
            Expr::Async(_) => {
                let outer = std::mem::replace(&mut self.in_async_block, true);
                visit::visit_expr(self, expr);
                self.in_async_block = outer;
                return;
            }
            Expr::Loop(_) | Expr::While(_) => return self.check_loop(expr),
            Expr::Call(call) => self.call(call),
            Expr::MethodCall(call) => self.method_call(call),
            _ => {}
        }
        visit::visit_expr(self, expr);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        if call.path.get_ident().and_then(Yield::named).is_some()
            && let Ok(Operand::One(operand)) = call.parse_body_with(operand)
        {
            Visit::visit_expr(self, &operand);
        }
    }

    // Skip nested items, because their code runs only if it is called.
    fn visit_item(&mut self, _: &'ast Item) {}
}

/// Returns `true` if a `#[cfg(…)]` might remove a statement.
fn is_conditional(statement: &Stmt) -> bool {
    let mut tokens = statement.to_token_stream().into_iter();
    let is_attribute =
        matches!(tokens.next(), Some(TokenTree::Punct(punct)) if punct.as_char() == '#');
    let inside = match tokens.next() {
        Some(TokenTree::Group(group)) if is_attribute => group.stream().into_iter().next(),
        _ => None,
    };
    matches!(inside, Some(TokenTree::Ident(name)) if name == "cfg")
}

const SPAWN_BLOCKING: &str = "spawn_blocking";

fn runs_elsewhere(func: &Expr) -> bool {
    matches!(func, Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == SPAWN_BLOCKING))
}

fn is_wild(pat: &Pat) -> bool {
    match pat {
        Pat::Wild(_) => true,
        Pat::Type(typed) => is_wild(&typed.pat),
        _ => false,
    }
}

/// Returns a path's segments and the span of the last segment.
fn written_path(expr: &Expr) -> Option<(Vec<String>, Span)> {
    let Expr::Path(ExprPath {
        qself: None, path, ..
    }) = expr
    else {
        return None;
    };
    let names = path.segments.iter();
    let at = path.segments.last()?.ident.span();
    Some((names.map(|segment| segment.ident.to_string()).collect(), at))
}

fn segments(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

/// Returns the alternative to a blocking function, or `None` if the function is not known to block.
/// For example, `TcpListener::bind` does not wait, and `std::fs::Permissions` is only a type.
fn instead_of_call(path: &[&str]) -> Option<String> {
    let way_out = match path {
        ["std", "thread", "sleep"] => "use `tokio::time::sleep(…).await`".to_owned(),
        ["std", "fs", "exists"] => "use `tokio::fs::try_exists(…).await`".to_owned(),
        ["std", "fs", "soft_link"] => "use `tokio::fs::symlink(…).await`".to_owned(),
        ["std", "fs", function] if function.starts_with(char::is_lowercase) => {
            format!("use `tokio::fs::{function}(…).await`")
        }
        [
            "std",
            "fs",
            "File",
            function @ ("open" | "create" | "create_new"),
        ] => {
            format!("use `tokio::fs::File::{function}(…).await`")
        }
        ["std", "net", "TcpStream", "connect"] => {
            "use `tokio::net::TcpStream::connect(…).await`".to_owned()
        }
        ["std", "net", "TcpStream", "connect_timeout"] => {
            "use `tokio::time::timeout(…, tokio::net::TcpStream::connect(…)).await`".to_owned()
        }
        [first, .., "block_on"] if HAVE_BLOCK_ON.contains(first) => BLOCK_ON.to_owned(),
        _ => return None,
    };
    Some(way_out)
}

/// The crates that have a `block_on` function.
const HAVE_BLOCK_ON: [&str; 8] = [
    "async_io",
    "async_std",
    "futures",
    "futures_executor",
    "futures_lite",
    "pollster",
    "smol",
    "tokio",
];
const BLOCK_ON: &str = "`.await` the future";

/// Returns the alternative to a method, or `None` if the method's name does not suggest that it
/// blocks.
fn instead_of_method(name: &str) -> Option<&'static str> {
    let way_out = match name {
        "blocking_recv" => "use `.recv().await`, or `.await` a oneshot receiver directly",
        "blocking_recv_many" => "use `.recv_many(…).await`",
        "blocking_send" => "use `.send(…).await`",
        "blocking_lock" => "use `.lock().await`",
        "blocking_lock_owned" => "use `.lock_owned().await`",
        "blocking_read" => "use `.read().await`",
        "blocking_write" => "use `.write().await`",
        "block_on" => BLOCK_ON,
        _ => return None,
    };
    Some(way_out)
}

/// Returns `true` if a call chain starts with `std::fs::OpenOptions::new()` or
/// `std::fs::File::options()`.
fn begins_with_options(call: &ExprMethodCall) -> bool {
    let mut first = &*call.receiver;
    while let Expr::MethodCall(call) = first {
        first = &call.receiver;
    }
    let Expr::Call(ExprCall { func, .. }) = first else {
        return false;
    };
    written_path(func).is_some_and(|(path, _)| {
        matches!(
            segments(&path)[..],
            ["std", "fs", "OpenOptions", "new"] | ["std", "fs", "File", "options"]
        )
    })
}
