//! The body: what it says of the endpoint, and the little that is rewritten in it.
//!
//! `.await` becomes a cancellation point. `return` says what the generator's output is, and in an endpoint that can fail
//! on both sides of the response, `?` and `return Err(…)` say on which side they stand. Nothing else is touched.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::{
    Expr, ExprCall, ExprReturn, ExprTry, Item, Macro, Stmt, parse_quote, parse_quote_spanned,
    spanned::Spanned as _,
    visit_mut::{self, VisitMut},
};

use crate::{
    endpoint::Form,
    errors::Errors,
    tokens::{self, Leaving},
};

pub(crate) struct Body {
    pub(crate) statements: Vec<Stmt>,
    /// The first statement that yields: the response begins before it.
    pub(crate) first_yield: Option<usize>,
}

const YIELD: &str = "yield_";
const YIELD_ALL: &str = "yield_all";

/// Macros of std and of tracing that yield nothing, whatever is in them. Of all others we cannot know.
const KNOWN_MACROS: [&str; 27] = [
    "assert",
    "assert_eq",
    "assert_ne",
    "column",
    "concat",
    "dbg",
    "debug",
    "debug_assert",
    "env",
    "eprintln",
    "error",
    "file",
    "format",
    "include_str",
    "info",
    "line",
    "matches",
    "panic",
    "pin",
    "print",
    "println",
    "stringify",
    "todo",
    "trace",
    "unreachable",
    "vec",
    "warn",
];

/// Reads the statements of an endpoint, and rewrites them for its form.
pub(crate) fn read(
    mut statements: Vec<Stmt>,
    form: Option<Form>,
    runtime: &TokenStream,
    name: &Ident,
    errors: &mut Errors,
) -> Body {
    let yielding = yielding_macros(&statements);
    let first_yield = statements
        .iter()
        .position(|statement| !is_macro_definition(statement) && finds(statement, &yielding));
    let mut reader = Reader {
        form,
        runtime,
        errors,
        place: Place::BeforeResponse,
        scope: Scope::Endpoint,
        yields: first_yield.is_some(),
        unknown_macro: false,
        endpoint: name.to_string(),
    };
    for (at, statement) in statements.iter_mut().enumerate() {
        if form.is_none_or(|form| !form.has_prelude()) || first_yield == Some(at) {
            reader.place = Place::InStream;
        }
        reader.visit_stmt_mut(statement);
    }
    if !reader.yields && !reader.unknown_macro {
        errors.at(
            name,
            format_args!(
                "endpoint `{name}` never yields an event; add `yield_!(…)`, or drop the attribute"
            ),
        );
    }
    Body {
        statements,
        first_yield,
    }
}

/// `yield_!`, `yield_all!`, and the function's own macros that hold one of them.
fn yielding_macros(statements: &[Stmt]) -> Vec<String> {
    let mut names = vec![YIELD.to_owned(), YIELD_ALL.to_owned()];
    for statement in statements {
        if let Stmt::Item(Item::Macro(item)) = statement
            && let Some(name) = &item.ident
            && tokens::find_call(item.mac.tokens.clone(), &names).is_some()
        {
            names.push(name.to_string());
        }
    }
    names
}

fn is_macro_definition(statement: &Stmt) -> bool {
    matches!(statement, Stmt::Item(Item::Macro(item)) if item.ident.is_some())
}

fn finds(statement: &Stmt, names: &[String]) -> bool {
    tokens::find_call(statement.to_token_stream(), names).is_some()
        || contains_yield_keyword(statement)
}

fn contains_yield_keyword(statement: &Stmt) -> bool {
    struct Find(bool);
    impl<'ast> syn::visit::Visit<'ast> for Find {
        fn visit_expr_yield(&mut self, _: &'ast syn::ExprYield) {
            self.0 = true;
        }
    }
    let mut find = Find(false);
    syn::visit::Visit::visit_stmt(&mut find, statement);
    find.0
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeResponse,
    InStream,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The endpoint's own coroutine.
    Endpoint,
    Closure,
    AsyncBlock,
    /// The arguments of a `spawn(…)`.
    Spawned,
}

struct Reader<'a> {
    /// `None`, where the return type is unknown: nothing is said of what depends on it.
    form: Option<Form>,
    runtime: &'a TokenStream,
    errors: &'a mut Errors,
    place: Place,
    scope: Scope,
    yields: bool,
    unknown_macro: bool,
    endpoint: String,
}

impl Reader<'_> {
    fn within(&mut self, scope: Scope, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.scope, scope);
        visit(self);
        self.scope = outer;
    }

    /// What `return` with nothing behind it becomes.
    fn finish(&self, token: Span) -> TokenStream {
        let runtime = self.runtime;
        match self.form {
            None | Some(Form::Stream) => quote_spanned!(token=> return),
            Some(_) => quote_spanned!(token=>
                return ::core::result::Result::Ok(#runtime::__private::End::END)
            ),
        }
    }

    /// Says where the errors of an endpoint that can fail on both sides lead: a name in the runtime.
    fn side(&self, before: &str, in_stream: &str) -> TokenStream {
        let runtime = self.runtime;
        let side = match self.place {
            Place::BeforeResponse => format_ident!("{before}"),
            Place::InStream => format_ident!("{in_stream}"),
        };
        quote!(#runtime::__private::#side)
    }

    /// Whether a `?` stands where no error can go; says so.
    fn refuses_errors(&mut self, at: &dyn quote::ToTokens, what: &str) -> bool {
        match (self.form, self.place) {
            (Some(Form::Stream), _) => {
                self.errors.at(at, format_args!(
                    "{what} cannot end this stream: its item is not a `Result`, and the response has begun\n\
                     help: make the item a `Result<T, E>`, and the error becomes an event; or return \
                     `Result<impl Stream<…>, E>`, and what stands before the first `yield_!` answers with a status"
                ));
                true
            }
            (Some(Form::Response), Place::InStream) => {
                self.errors.at(at, format_args!(
                    "the response has begun, so {what} cannot become a status\n\
                     help: make the item a `Result<T, E>`, and the error becomes an event; or move this before the \
                     first `yield_!`"
                ));
                true
            }
            _ => false,
        }
    }

    fn rewrite_return(&mut self, expr: &ExprReturn) -> Option<TokenStream> {
        let token = expr.return_token.span;
        let Some(value) = &expr.expr else {
            return Some(self.finish(token));
        };
        let is_ok = is_call_of(value, "Ok");
        let is_err = is_call_of(value, "Err");
        match self.form {
            None => return None,
            Some(Form::Stream) if !is_err => {
                self.errors.at(
                    expr,
                    "a stream ends with `return;`; hand values over with `yield_!(…)` before it",
                );
                return Some(quote_spanned!(token=> { let _ = #value; return }));
            }
            Some(_) if is_ok => {
                self.errors.at(
                    expr,
                    "a stream ends with `return;`, without a value; hand values over with `yield_!(…)` before it",
                );
                return Some(self.finish(token));
            }
            Some(_) => {}
        }
        if self.refuses_errors(expr, "`return Err(…)`") {
            let finish = self.finish(token);
            return Some(quote_spanned!(token=> { let _ = #value; #finish }));
        }
        (self.form == Some(Form::TryResponse)).then(|| {
            let side = self.side("return_before_response", "return_in_stream");
            quote_spanned!(token=> return #side(#value))
        })
    }

    fn rewrite_yield(&mut self, call: &mut Macro) -> Option<Expr> {
        self.yields = true;
        let name = call.path.to_token_stream().to_string();
        let problem = match self.scope {
            Scope::Endpoint => None,
            Scope::Closure => Some(format!(
                "`{name}!` cannot be used inside a closure, which is not part of the generator; use a loop, or collect first"
            )),
            Scope::AsyncBlock => Some(format!(
                "`{name}!` cannot be used inside an `async` block, which is a future of its own; `.await` its result, and yield that"
            )),
            Scope::Spawned => Some(format!(
                "a spawned task cannot yield, since it runs beside the stream; send through a channel, and `{name}!` what arrives"
            )),
        };
        let value: syn::Result<Expr> =
            call.parse_body_with(|input: syn::parse::ParseStream<'_>| {
                let value = input.parse()?;
                input.parse::<Option<syn::Token![,]>>()?;
                Ok(value)
            });
        let value = match (value, problem) {
            (Ok(mut value), None) => {
                self.visit_expr_mut(&mut value);
                let is_ok = is_call_of(&value, "Ok");
                if name == YIELD
                    && is_ok
                    && matches!(self.form, Some(Form::TryStream | Form::TryResponse))
                {
                    self.errors.at(
                        &value,
                        "yield the value itself, without `Ok`; end with `?` or `return Err(…)`",
                    );
                    return Some(parse_quote_spanned!(value.span()=> { let _ = #value; }));
                }
                call.tokens = value.into_token_stream();
                return None;
            }
            (Ok(value), Some(problem)) => {
                self.errors.at(&*call, problem);
                value
            }
            (Err(_), problem) => {
                let problem = problem.unwrap_or_else(|| match name.as_str() {
                    YIELD => {
                        "`yield_!` takes one value; wrap several in a tuple or a struct".to_owned()
                    }
                    _ => "`yield_all!` takes one stream".to_owned(),
                });
                self.errors.at(&*call, problem);
                parse_quote!(())
            }
        };
        // Nothing of it is reported a second time by the compiler.
        Some(parse_quote_spanned!(call.span()=> { let _ = #value; }))
    }

    /// Rewrites the tokens of a macro that is not ours.
    fn visit_foreign_macro(&mut self, call: &mut Macro) {
        let name = call.path.segments.last().map(|last| last.ident.to_string());
        let name = name.unwrap_or_default();
        self.unknown_macro |= !KNOWN_MACROS.contains(&name.as_str());
        if self.scope == Scope::Endpoint && self.form.is_some() {
            let tokens = std::mem::take(&mut call.tokens);
            call.tokens = tokens::rewrite(tokens, self);
        }
    }

    fn visit_macro_call(&mut self, call: &mut Macro) -> Option<Expr> {
        if call.path.is_ident(YIELD) || call.path.is_ident(YIELD_ALL) {
            self.rewrite_yield(call)
        } else {
            self.visit_foreign_macro(call);
            None
        }
    }
}

impl Leaving for Reader<'_> {
    fn on_return(&mut self, token: Ident, operand: TokenStream) -> TokenStream {
        match syn::parse2::<Expr>(quote!(#token #operand)) {
            Ok(Expr::Return(expr)) => self
                .rewrite_return(&expr)
                .unwrap_or_else(|| expr.into_token_stream()),
            // Something that only looks like it.
            _ => quote!(#token #operand),
        }
    }

    fn on_try(&mut self, question: TokenTree) -> TokenStream {
        if self.refuses_errors(&question, "`?`") {
            return quote!(.ok().unwrap());
        }
        if self.form == Some(Form::TryResponse) {
            let side = self.side("BeforeResponse", "InStream");
            return quote_spanned!(question.span()=> .map_err(#side) #question);
        }
        question.into()
    }
}

impl VisitMut for Reader<'_> {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Closure(_) => {
                let scope = match self.scope {
                    Scope::Spawned => Scope::Spawned,
                    _ => Scope::Closure,
                };
                self.within(scope, |reader| visit_mut::visit_expr_mut(reader, expr));
            }
            Expr::Async(_) => {
                let scope = match self.scope {
                    Scope::Spawned => Scope::Spawned,
                    _ => Scope::AsyncBlock,
                };
                self.within(scope, |reader| visit_mut::visit_expr_mut(reader, expr));
            }
            Expr::Await(awaited) => {
                self.visit_expr_mut(&mut awaited.base);
                let runtime = self.runtime;
                let base = &awaited.base;
                awaited.base = parse_quote_spanned!(awaited.await_token.span=>
                    #runtime::__private::guard(#base)
                );
            }
            Expr::Try(ExprTry {
                expr: base,
                question_token,
                ..
            }) => {
                self.visit_expr_mut(base);
                if self.scope != Scope::Endpoint {
                    return;
                }
                if self.refuses_errors(question_token, "`?`") {
                    *expr = parse_quote_spanned!(question_token.span()=> (#base).ok().unwrap());
                } else if self.form == Some(Form::TryResponse) {
                    let side = self.side("before_response", "in_stream");
                    *base = parse_quote_spanned!(question_token.span()=> #side(#base));
                }
            }
            Expr::Return(inner) => {
                if let Some(value) = &mut inner.expr {
                    self.visit_expr_mut(value);
                }
                if self.scope == Scope::Endpoint
                    && let Some(rewritten) = self.rewrite_return(inner)
                {
                    *expr = parse_quote!(#rewritten);
                }
            }
            Expr::Yield(inner) => {
                self.yields = true;
                if let Some(value) = &mut inner.expr {
                    self.visit_expr_mut(value);
                }
                let value = &inner.expr;
                if !cfg!(nightly) {
                    let spelled = match value {
                        Some(value) => value.to_token_stream().to_string(),
                        None => "…".to_owned(),
                    };
                    self.errors.at(
                        inner.yield_token,
                        format_args!(
                            "`yield` is unstable; on stable Rust write `yield_!({spelled})`"
                        ),
                    );
                }
                let call = Ident::new(YIELD, inner.yield_token.span());
                *expr = parse_quote!(#call!(#value));
            }
            Expr::Macro(call) => {
                if let Some(replacement) = self.visit_macro_call(&mut call.mac) {
                    *expr = replacement;
                }
            }
            Expr::Call(ExprCall { func, args, .. }) if is_spawn(func) => {
                self.visit_expr_mut(func);
                self.within(Scope::Spawned, |reader| {
                    for arg in args {
                        reader.visit_expr_mut(arg);
                    }
                });
            }
            _ => visit_mut::visit_expr_mut(self, expr),
        }
    }

    fn visit_stmt_mut(&mut self, statement: &mut Stmt) {
        if let Stmt::Macro(call) = statement {
            if let Some(replacement) = self.visit_macro_call(&mut call.mac) {
                *statement = Stmt::Expr(replacement, Some(parse_quote!(;)));
            }
            return;
        }
        visit_mut::visit_stmt_mut(self, statement);
    }

    /// What an item inside the function does is its own affair, but it cannot yield for us.
    fn visit_item_mut(&mut self, item: &mut Item) {
        if matches!(item, Item::Macro(_)) {
            return;
        }
        let names = [YIELD.to_owned(), YIELD_ALL.to_owned()];
        if let Some(span) = tokens::find_call(item.to_token_stream(), &names) {
            self.yields = true;
            let owner = match item {
                Item::Fn(function) => format!("`{}`", function.sig.ident),
                _ => "an item inside it".to_owned(),
            };
            self.errors.at_span(
                span,
                format_args!(
                    "`yield_!` belongs to the endpoint `{}`, not to {owner}; return the values, and yield them here",
                    self.endpoint
                ),
            );
            *item = Item::Verbatim(tokens::without_calls(item.to_token_stream(), &names));
        }
    }

    fn visit_macro_mut(&mut self, call: &mut Macro) {
        self.visit_foreign_macro(call);
    }

    // A macro inside a type or a pattern leaves nothing.
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_pat_mut(&mut self, _: &mut syn::Pat) {}
}

fn is_call_of(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Call(ExprCall { func, .. })
        if matches!(&**func, Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name)))
}

fn is_spawn(func: &Expr) -> bool {
    ["spawn", "spawn_blocking", "spawn_local"].iter().any(|spawn| {
        matches!(func, Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == spawn))
    })
}
