//! The body: what it says of the endpoint, and the little that is rewritten in it.
//!
//! `.await` becomes a cancellation point. `yield_!` is written out. `return` says what the generator's output is, and in
//! an endpoint that can fail on both sides of the response, `?` and `return Err(…)` say on which side they stand.
//! Nothing else is touched.

pub(super) mod known_macros;
pub(super) mod tokens;
pub(super) mod yields;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Expr, ExprAwait, ExprCall, ExprReturn, ExprTry, ExprYield, Item, Macro, Stmt, UnOp,
    parse_quote, parse_quote_spanned,
    spanned::Spanned as _,
    visit_mut::{self, VisitMut},
};

use self::{
    known_macros::{KNOWN_MACROS, OWN_GENERATORS},
    tokens::Leaving,
    yields::{Operand, YIELD, YIELD_ALL, Yield, arity, leaves_its_type_open, operand},
};
use super::returns::Form;
use crate::support::{
    errors::Errors,
    runtime_path::{Runtime, ours},
};

pub(crate) struct Body {
    pub(crate) statements: Vec<Stmt>,
    /// The first statement that yields: the response begins before it.
    pub(crate) first_yield: Option<usize>,
}

impl Body {
    /// A body that does not parse, as it is.
    pub(crate) fn unread(tokens: TokenStream) -> Self {
        Self {
            statements: vec![Stmt::Expr(Expr::Verbatim(tokens), None)],
            first_yield: None,
        }
    }
}

/// Reads the statements of an endpoint, and rewrites them for its form.
pub(crate) fn read(
    mut statements: Vec<Stmt>,
    form: Option<Form>,
    runtime: &Runtime,
    name: &Ident,
    errors: &mut Errors,
) -> Body {
    let first_yield = statements.iter().position(yield_predicate(&statements));
    let returns_stream = refuse_tail_value(&mut statements, form, first_yield.is_some(), errors);
    let mut reader = Reader {
        form,
        runtime,
        errors,
        place: Place::BeforeResponse,
        scope: Scope::Endpoint,
        yields: first_yield.is_some() || returns_stream,
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
                "endpoint `{name}` never yields an event; add `yield_!(…)` or `yield_all!(stream)`, or drop the attribute"
            ),
        );
    }
    Body {
        statements,
        first_yield,
    }
}

/// Tells which of the statements yield, as far as their tokens say.
pub(crate) fn yield_predicate(statements: &[Stmt]) -> impl Fn(&Stmt) -> bool + use<> {
    let yielding = yielding_macros(statements);
    move |statement| !is_macro_definition(statement) && finds(statement, &yielding)
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
        fn visit_expr_yield(&mut self, _: &'ast ExprYield) {
            self.0 = true;
        }
    }
    let mut find = Find(false);
    syn::visit::Visit::visit_stmt(&mut find, statement);
    find.0
}

/// Reports a value at the end of the function that is surely one by its looks; returns whether it is a stream, which
/// says that the function was not meant to yield.
fn refuse_tail_value(
    statements: &mut [Stmt],
    form: Option<Form>,
    yields: bool,
    errors: &mut Errors,
) -> bool {
    const RETURNS_STREAM: &str = "an endpoint yields its events and does not return a stream; write \
                                  `yield_all!(…);` with the stream inside, or `yield_!(…)` in place of its `yield`";
    let (tail, semicolon) = match statements.last_mut() {
        Some(Stmt::Expr(tail, semicolon @ None)) => (tail, semicolon),
        Some(Stmt::Macro(call)) if call.semi_token.is_none() && is_generator(&call.mac) => {
            errors.at(&*call, RETURNS_STREAM);
            call.semi_token = Some(parse_quote!(;));
            return true;
        }
        _ => return false,
    };
    let is_stream = is_stream(tail, yields);
    let problem = if is_stream {
        RETURNS_STREAM
    } else if is_call_of(tail, "Ok") {
        "the end of the function ends the stream; remove this"
    } else if is_call_of(tail, "Err") && form != Some(Form::Stream) {
        "the end of the function ends the stream; to end it with an error, write `return Err(…);`"
    } else if is_call_of(tail, "Err") || is_call_of(tail, "Some") || is_literal(tail) {
        "the end of the function ends the stream; `yield_!(…)` this value, or remove it"
    } else {
        return false;
    };
    errors.at(&*tail, problem);
    // Nothing of it is reported a second time by the compiler.
    *semicolon = Some(parse_quote!(;));
    is_stream
}

/// Whether the value at the end of a function can be nothing but the stream that was to be returned.
fn is_stream(tail: &Expr, yields: bool) -> bool {
    match tail {
        Expr::Macro(call) => is_generator(&call.mac),
        Expr::Call(call) if is_call_of(tail, "Ok") => call.args.first().is_some_and(|value| {
            is_stream(value, yields)
                || (!yields && matches!(value, Expr::Call(_) | Expr::MethodCall(_)))
        }),
        // `Box::pin(stream! { … })` and its like.
        Expr::Call(call) => call
            .args
            .iter()
            .any(|value| matches!(value, Expr::Macro(call) if is_generator(&call.mac))),
        Expr::Path(_) => !yields,
        _ => false,
    }
}

/// Whether a macro makes a stream of its tokens.
fn is_generator(mac: &Macro) -> bool {
    let name = mac.path.segments.last();
    name.is_some_and(|name| {
        OWN_GENERATORS
            .iter()
            .any(|generator| name.ident == generator)
    })
}

fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Lit(_) | Expr::Struct(_) | Expr::Array(_) => true,
        Expr::Tuple(tuple) => !tuple.elems.is_empty(),
        _ => false,
    }
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
    runtime: &'a Runtime,
    errors: &'a mut Errors,
    place: Place,
    scope: Scope,
    yields: bool,
    unknown_macro: bool,
    endpoint: String,
}

// What `return` and `?` become. Where an error was reported, the expression is left as it is: the function that it
// stands in returns an error type then, and the compiler has nothing to add.
impl Reader<'_> {
    /// What `return` with nothing behind it becomes.
    fn finish(&self, token: Span) -> TokenStream {
        let private = self.runtime.internals();
        match self.form {
            None | Some(Form::Stream) => quote_spanned!(token=> return),
            Some(_) => quote_spanned!(token=>
                return ::core::result::Result::Ok(#private::End::END)
            ),
        }
    }

    /// Says where the errors of an endpoint that can fail on both sides lead: a function of the runtime.
    fn side(&self, before: &str, in_stream: &str, at: Span) -> TokenStream {
        let name = match self.place {
            Place::BeforeResponse => before,
            Place::InStream => in_stream,
        };
        let (private, name) = (self.runtime.private(at), Ident::new(name, at));
        quote_spanned!(at=> #private::#name)
    }

    /// Whether `what` stands where no error can go; says so.
    fn refuses_errors(&mut self, at: impl ToTokens, what: &str) -> bool {
        let message = match (self.form, self.place) {
            (Some(Form::Stream), _) => format!(
                "{what} cannot end this stream: its item is not a `Result`, and the response has begun\n\
                 help: make the item a `Result<T, E>`, and the error becomes an event; or return \
                 `Result<impl Stream<…>, E>`, and what stands before the first `yield_!` answers with a status"
            ),
            (Some(Form::Response), Place::InStream) => format!(
                "the response has begun, so {what} cannot become a status\n\
                 help: make the item a `Result<T, E>`, and the error becomes an event; or move this before the \
                 first `yield_!`"
            ),
            _ => return false,
        };
        self.errors.at(at, message);
        true
    }

    fn rewrite_return(&mut self, expr: &ExprReturn) -> Option<TokenStream> {
        let form = self.form?;
        let token = expr.return_token.span;
        let Some(value) = &expr.expr else {
            return Some(self.finish(token));
        };
        let is_err = is_call_of(value, "Err");
        if is_call_of(value, "Ok") || is_literal(value) || (form == Form::Stream && !is_err) {
            self.errors.at(
                expr,
                "a stream ends with `return;`, without a value; hand values over with `yield_!(…)` before it",
            );
            return None;
        }
        if self.refuses_errors(expr, "`return Err(…)`") || form != Form::TryResponse {
            return None;
        }
        let side = self.side("return_before_response", "return_in_stream", token);
        Some(quote_spanned!(token=> return #side(#value)))
    }

    fn rewrite_try(
        &mut self,
        ExprTry {
            expr: base,
            question_token,
            ..
        }: &mut ExprTry,
    ) {
        if self.scope != Scope::Endpoint || self.refuses_errors(*question_token, "`?`") {
            return;
        }
        if self.form == Some(Form::TryResponse) {
            **base = self.call(base, |reader, at| {
                reader.side("before_response", "in_stream", at)
            });
        }
    }

    /// A call of a function of the runtime around `base`, that is underlined as `base` is.
    fn call(&self, base: &Expr, function: impl FnOnce(&Self, Span) -> TokenStream) -> Expr {
        let (first, last) = ends(base);
        let function = function(self, first);
        let mut operand = Group::new(Delimiter::Parenthesis, base.to_token_stream());
        operand.set_span(last);
        Expr::Verbatim(quote!(#function #operand))
    }

    fn rewrite_await(&self, ExprAwait { base, .. }: &mut ExprAwait) {
        **base = self.call(base, |reader, at| {
            let private = reader.runtime.private(at);
            quote_spanned!(at=> #private::guard)
        });
    }
}

// What `yield_!` becomes.
impl Reader<'_> {
    /// What stands for a call of `yield_!` or `yield_all!`.
    fn rewrite_yield(&mut self, call: Yield, mac: &Macro) -> Expr {
        self.yields = true;
        let refused = self.refusal(call);
        let (operand, refused) = match mac.parse_body_with(operand) {
            Ok(Operand::None) => (None, refused.or(Some(arity(call).to_owned()))),
            Ok(Operand::One(operand)) => (Some(operand), refused),
            Ok(Operand::More(operand)) => (Some(operand), refused.or(Some(arity(call).to_owned()))),
            // The compiler says what is wrong with it; an editor that completes it finds it in the expansion.
            Err(_) => (Some(Expr::Verbatim(mac.tokens.clone())), refused),
        };
        match (operand, refused) {
            (Some(operand), None) => self.hand_over(call, operand, mac),
            (operand, refused) => {
                if let Some(problem) = refused {
                    self.errors.at(mac, problem);
                }
                unheard(operand)
            }
        }
    }

    fn hand_over(&mut self, call: Yield, mut operand: Expr, mac: &Macro) -> Expr {
        let is_open = leaves_its_type_open(&operand);
        self.visit_expr_mut(&mut operand);
        let Some(form) = self.form else {
            return unheard(Some(operand));
        };
        if call == Yield::One
            && form.stream_fails()
            && let Some(problem) = result_problem(&operand)
        {
            self.errors.at(&operand, problem);
            return unheard(Some(operand));
        }
        let at = mac.path.span();
        let mut parentheses = Group::new(Delimiter::Parenthesis, operand.to_token_stream());
        parentheses.set_span(match operand {
            // What is wrong with it may be that it ends.
            Expr::Verbatim(_) => mac.delimiter.span().join(),
            _ => ours(at),
        });
        Expr::Verbatim(call.write(&parentheses, is_open, form, self.runtime, at))
    }

    /// Why nothing can be yielded here.
    fn refusal(&self, call: Yield) -> Option<String> {
        let name = call.name();
        let problem = match self.scope {
            Scope::Endpoint => return None,
            Scope::Closure => format!(
                "`{name}!` cannot be used inside a closure, which is not part of the generator; use a loop, or collect first"
            ),
            Scope::AsyncBlock => format!(
                "`{name}!` cannot be used inside an `async` block, which is a future of its own; `.await` its result, and yield that"
            ),
            Scope::Spawned => format!(
                "a spawned task cannot yield, since it runs beside the stream; send through a channel, and `{name}!` what arrives"
            ),
        };
        Some(problem)
    }

    fn rewrite_yield_keyword(&mut self, expr: &ExprYield) -> Expr {
        // Of `yield!(value)`, which is a negation in parentheses, only the value is meant.
        let value = expr.expr.as_deref().map(|value| match value {
            Expr::Unary(not) => match (not.op, &*not.expr) {
                (UnOp::Not(_), Expr::Paren(paren)) => paren.expr.to_token_stream(),
                _ => value.to_token_stream(),
            },
            value => value.to_token_stream(),
        });
        if !cfg!(nightly) {
            let spelled = value
                .as_ref()
                .map_or("…".to_owned(), TokenStream::to_string);
            self.errors.at(
                expr.yield_token,
                format_args!("`yield` is unstable; on stable Rust write `yield_!({spelled})`"),
            );
        }
        let name = Ident::new(YIELD, expr.yield_token.span());
        let mac: Macro = parse_quote_spanned!(name.span()=> #name!(#value));
        self.rewrite_yield(Yield::One, &mac)
    }

    /// An item inside the function is its own affair, but it cannot yield for us.
    fn refuse_yields_of(&mut self, item: &mut Item) {
        let names = [YIELD.to_owned(), YIELD_ALL.to_owned()];
        let Some(span) = tokens::find_call(item.to_token_stream(), &names) else {
            return;
        };
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

impl Reader<'_> {
    fn within(&mut self, scope: Scope, visit: impl FnOnce(&mut Self)) {
        // What is spawned stays spawned, whatever is in it.
        let scope = match self.scope {
            Scope::Spawned => Scope::Spawned,
            _ => scope,
        };
        let outer = std::mem::replace(&mut self.scope, scope);
        visit(self);
        self.scope = outer;
    }

    fn visit_macro_call(&mut self, call: &mut Macro) -> Option<Expr> {
        match call.path.get_ident().and_then(Yield::named) {
            Some(name) => Some(self.rewrite_yield(name, call)),
            None => {
                self.visit_foreign_macro(call);
                None
            }
        }
    }

    /// Rewrites the tokens of a macro that is not ours.
    fn visit_foreign_macro(&mut self, call: &mut Macro) {
        let name = call.path.segments.last().map(|last| last.ident.to_string());
        let name = name.unwrap_or_default();
        self.unknown_macro |= !KNOWN_MACROS.contains(&name.as_str());
        let is_ours = self.scope == Scope::Endpoint && !OWN_GENERATORS.contains(&name.as_str());
        if is_ours && self.form.is_some() {
            let tokens = std::mem::take(&mut call.tokens);
            call.tokens = tokens::rewrite(tokens, self);
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
        if !self.refuses_errors(&question, "`?`") && self.form == Some(Form::TryResponse) {
            let at = question.span();
            let side = self.side("error_before_response", "error_in_stream", at);
            return quote_spanned!(at=> .map_err(#side) #question);
        }
        question.into()
    }

    fn on_yield(&mut self, call: Yield, mac: Macro) -> TokenStream {
        self.rewrite_yield(call, &mac).into_token_stream()
    }
}

impl VisitMut for Reader<'_> {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Closure(_) => self.within(Scope::Closure, |reader| {
                visit_mut::visit_expr_mut(reader, expr);
            }),
            Expr::Async(_) => self.within(Scope::AsyncBlock, |reader| {
                visit_mut::visit_expr_mut(reader, expr);
            }),
            // The compiler says that a `!` is missing.
            Expr::Call(ExprCall { func, .. }) if matches!(&**func, Expr::Path(path) if path.path.get_ident().and_then(Yield::named).is_some()) =>
            {
                self.yields = true;
            }
            Expr::Call(ExprCall { func, args, .. }) if is_spawn(func) => {
                self.visit_expr_mut(func);
                for arg in args {
                    match arg {
                        Expr::Async(_) | Expr::Closure(_) => {
                            self.within(Scope::Spawned, |reader| reader.visit_expr_mut(arg));
                        }
                        // What is computed before the task starts is the endpoint's own.
                        _ => self.visit_expr_mut(arg),
                    }
                }
            }
            Expr::Await(ExprAwait {
                base, await_token, ..
            }) if is_yield(base) => {
                self.errors.at(
                    *await_token,
                    "`yield_!` waits by itself; remove this `.await`",
                );
                self.visit_expr_mut(base);
                *expr = (**base).clone();
            }
            Expr::Try(ExprTry {
                expr: base,
                question_token,
                ..
            }) if is_yield(base) => {
                self.errors
                    .at(*question_token, "`yield_!` does not fail; remove this `?`");
                self.visit_expr_mut(base);
                *expr = (**base).clone();
            }
            Expr::Await(inner) => {
                self.visit_expr_mut(&mut inner.base);
                self.rewrite_await(inner);
            }
            Expr::Try(inner) => {
                self.visit_expr_mut(&mut inner.expr);
                self.rewrite_try(inner);
            }
            Expr::Return(inner) => {
                if let Some(value) = &mut inner.expr {
                    self.visit_expr_mut(value);
                }
                if self.scope == Scope::Endpoint
                    && let Some(rewritten) = self.rewrite_return(inner)
                {
                    let attributes = std::mem::take(&mut inner.attrs);
                    *expr = Expr::Verbatim(quote!(#(#attributes)* #rewritten));
                }
            }
            Expr::Yield(inner) => *expr = self.rewrite_yield_keyword(inner),
            Expr::Macro(call) => {
                if let Some(replacement) = self.visit_macro_call(&mut call.mac) {
                    let attributes = std::mem::take(&mut call.attrs);
                    *expr = Expr::Verbatim(quote!(#(#attributes)* #replacement));
                }
            }
            _ => visit_mut::visit_expr_mut(self, expr),
        }
    }

    fn visit_stmt_mut(&mut self, statement: &mut Stmt) {
        if let Stmt::Macro(call) = statement {
            if let Some(block) = self.visit_macro_call(&mut call.mac) {
                // A block needs no semicolon, and with one the compiler would ask to remove it.
                let attributes = std::mem::take(&mut call.attrs);
                *statement = Stmt::Expr(Expr::Verbatim(quote!(#(#attributes)* #block)), None);
            }
            return;
        }
        visit_mut::visit_stmt_mut(self, statement);
    }

    fn visit_item_mut(&mut self, item: &mut Item) {
        // What a macro yields, it yields where it is called.
        if !matches!(item, Item::Macro(_)) {
            self.refuse_yields_of(item);
        }
    }

    fn visit_macro_mut(&mut self, call: &mut Macro) {
        self.visit_foreign_macro(call);
    }

    // A macro inside a type or a pattern leaves nothing.
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_pat_mut(&mut self, _: &mut syn::Pat) {}
}

/// Why a `Result` that is written out is not what `yield_!` takes in a stream that can fail. In one that cannot, the
/// compiler knows whether the item is a `Result` by another name.
fn result_problem(operand: &Expr) -> Option<&'static str> {
    if is_call_of(operand, "Err") {
        Some("an error ends the stream: write `return Err(…);` in place of this `yield_!`")
    } else if is_call_of(operand, "Ok") {
        Some("yield the value itself, without `Ok`; end with `?` or `return Err(…)`")
    } else {
        None
    }
}

/// What was refused, for the compiler to resolve its names, and no more.
fn unheard(operand: Option<Expr>) -> Expr {
    let operand = operand.map(|operand| quote!(let _ = #operand;));
    Expr::Verbatim(quote!({ #operand }))
}

/// The spans of the first token and of the last.
fn ends(tokens: &impl ToTokens) -> (Span, Span) {
    let mut tokens = tokens
        .to_token_stream()
        .into_iter()
        .map(|token| token.span());
    let first = tokens.next().unwrap_or_else(Span::call_site);
    (first, tokens.last().unwrap_or(first))
}

/// Whether it is a call of `yield_!` or `yield_all!`.
fn is_yield(expr: &Expr) -> bool {
    matches!(expr, Expr::Macro(call) if call.mac.path.get_ident().and_then(Yield::named).is_some())
}

/// Whether it calls a variant of `Result`, as far as its path tells: `Ok(…)` and `Result::Ok(…)`, not `Reply::Ok(…)`.
pub(crate) fn is_call_of(expr: &Expr, name: &str) -> bool {
    let Expr::Call(ExprCall { func, .. }) = expr else {
        return false;
    };
    let Expr::Path(path) = &**func else {
        return false;
    };
    let mut segments = path.path.segments.iter().rev();
    segments.next().is_some_and(|last| last.ident == name)
        && segments.next().is_none_or(|owner| owner.ident == "Result")
}

fn is_spawn(func: &Expr) -> bool {
    ["spawn", "spawn_blocking", "spawn_local"].iter().any(|spawn| {
        matches!(func, Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == spawn))
    })
}
