//! The code that an endpoint becomes.
//!
//! ```text
//! // Input                                          // Output
//! /// The time.                                     /// The time.
//! #[sse_endpoint("/clock")]                         fn clock() -> SseRoute<fn() -> Generator> {
//! async fn clock() -> impl Stream<Item = Time> {        async fn clock(stream: Yielder<Time>) {
//!     loop {                                                macro_rules! yield_ { … }
//!         tick().await;                                     loop {
//!         yield_!(now());                                       guard(tick()).await;
//!     }                                                         yield_!(now());
//! }                                                         }
//!                                                       }
//!                                                       fn declared() -> impl Stream<Item = Time> { Items::<Time>::new() }
//!                                                       route(Endpoint::new("/clock", "clock"), || Generator::stream(…, clock))
//!                                                   }
//! ```
//!
//! The user's function stays an `async fn` of its arguments, with one more in front: its attributes, its patterns and
//! what the compiler has to say about them stay what they were. All behaviour lives in the runtime.

use proc_macro2::{Ident, Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::{Attribute, Expr, ExprLit, FnArg, Lit, Meta, Type, spanned::Spanned as _};

use crate::{
    args::{Args, End, Flush, KeepAlive},
    check::{self, Warning},
    endpoint::{Endpoint, ErrorType, Form, Returns},
    errors::Errors,
};

pub(crate) fn expand(endpoint: Endpoint, errors: &Errors) -> TokenStream {
    let failed = !errors.is_empty();
    let usable = endpoint.function.sig.inputs.len() <= 16
        && endpoint.function.sig.generics.params.is_empty()
        && endpoint
            .function
            .sig
            .inputs
            .iter()
            .all(|arg| matches!(arg, FnArg::Typed(arg) if !matches!(&*arg.ty, Type::Reference(_) | Type::ImplTrait(_))));
    match &endpoint.returns {
        Some(returns) if usable => whole(&endpoint, returns, failed),
        _ => stub(&endpoint, usable),
    }
}

/// The whole endpoint. After an error it is still there, and keeps quiet.
fn whole(endpoint: &Endpoint, returns: &Returns, failed: bool) -> TokenStream {
    let runtime = endpoint.args.runtime();
    let sig = &endpoint.function.sig;
    let vis = &endpoint.function.vis;
    let name = &sig.ident;
    let attributes = Attributes::split(&endpoint.function.attrs);
    let outer = &attributes.outer;
    let extractors: Vec<&Type> = endpoint.extractors().collect();
    let quiet = failed.then(|| quote!(#[allow(warnings)]));
    let warnings = if failed {
        Vec::new()
    } else {
        check::warnings(endpoint)
    };
    let warnings = warnings.into_iter().map(warning);

    let function = function(endpoint, returns, &attributes.inner);
    let declared = declared(returns, &runtime);
    let about = about(endpoint, returns, &attributes.docs());
    let handler = handler(endpoint, returns);
    quote! {
        #(#outer)*
        #quiet
        #vis fn #name() -> #runtime::SseRoute<fn(#(#extractors),*) -> #runtime::__private::Generator> {
            #(#warnings)*
            #function
            #declared
            #runtime::__private::route(#about, #handler)
        }
    }
}

/// The user's function, with the yielder in front of its arguments.
fn function(endpoint: &Endpoint, returns: &Returns, attributes: &[Attribute]) -> TokenStream {
    let runtime = endpoint.args.runtime();
    let form = returns.form();
    let sig = &endpoint.function.sig;
    let (name, inputs) = (&sig.ident, &sig.inputs);
    let yielder = yielder();
    let item = item(returns, &runtime);
    let attributes = attributes
        .iter()
        .map(|attribute| keep_out(attribute, &yielder));
    // The one that we add is not the user's to answer for.
    let many = (inputs.len() == 7).then(|| quote!(#[allow(clippy::too_many_arguments)]));
    let output = output(returns, &runtime);
    let macros = macros(form, &runtime, &yielder);

    let mut statements: Vec<TokenStream> = endpoint
        .body
        .statements
        .iter()
        .map(quote::ToTokens::to_token_stream)
        .collect();
    if let Some(first) = endpoint.body.first_yield.filter(|_| form.has_prelude()) {
        statements.insert(first, quote!(#yielder.begin().await;));
    }
    let brace = endpoint.function.block.brace_token.span.join();
    let block = quote_spanned!(brace=> { #(#statements)* });
    let body = if form == Form::Stream {
        quote!(#(#statements)*)
    } else {
        // As a statement it may be unreachable without a warning, and whether it is says nothing about the user's code.
        quote! {
            #block
            #[allow(unreachable_code)]
            return ::core::result::Result::Ok(#runtime::__private::End::END);
        }
    };
    let async_token = sig
        .asyncness
        .map_or_else(|| quote!(async), |token| token.to_token_stream());
    let fn_token = sig.fn_token;
    quote! {
        #(#attributes)*
        #many
        #async_token #fn_token #name(#yielder: #runtime::__private::Yielder<#item>, #inputs) #output {
            #macros
            #body
        }
    }
}

/// What the coroutine returns when it ends.
fn output(returns: &Returns, runtime: &TokenStream) -> Option<TokenStream> {
    let end = quote!(#runtime::__private::End);
    let stream = returns
        .stream_error
        .as_ref()
        .map(|error| error_type(error, runtime));
    let response = returns
        .response_error
        .as_ref()
        .map(|error| error_type(error, runtime));
    let error = match (response, stream) {
        (None, None) => return None,
        (Some(error), None) | (None, Some(error)) => error,
        (Some(response), Some(stream)) => quote!(#runtime::__private::Exit<#response, #stream>),
    };
    Some(quote!(-> ::core::result::Result<#end, #error>))
}

fn macros(form: Form, runtime: &TokenStream, yielder: &Ident) -> TokenStream {
    let push_all = match form {
        Form::Stream | Form::Response => quote!(__push_all!(#yielder, $($stream)*)),
        Form::TryStream => {
            quote!(__try_push_all!(::core::convert::identity, #yielder, $($stream)*))
        }
        Form::TryResponse => {
            quote!(__try_push_all!(#runtime::__private::Exit::Stream, #yielder, $($stream)*))
        }
    };
    // Found by the user's own call, so they have a name that anybody can say.
    let (yield_, yield_all) = (format_ident!("yield_"), format_ident!("yield_all"));
    quote! {
        #[allow(unused_macros)]
        macro_rules! #yield_ { ($($value:tt)*) => { #runtime::__push!(#yielder, $($value)*) } }
        #[allow(unused_macros)]
        macro_rules! #yield_all { ($($stream:tt)*) => { #runtime::#push_all } }
    }
}

/// The return type as the user wrote it, so that what it names is used, and is a stream of what it says.
fn declared(returns: &Returns, runtime: &TokenStream) -> TokenStream {
    let stream = &returns.stream;
    let items = match (&returns.item, &returns.stream_error) {
        (Some(item), Some(ErrorType::Written(error))) => {
            quote!(::core::result::Result<#item, #error>)
        }
        _ => returns.whole_item.to_token_stream(),
    };
    quote_spanned! {stream.span()=>
        #[allow(dead_code)]
        fn declared() -> #stream {
            #runtime::__private::Items::<#items>::new()
        }
    }
}

/// `Endpoint::new(…)` with the keys that were given.
fn about(endpoint: &Endpoint, returns: &Returns, docs: &str) -> TokenStream {
    let Args {
        path,
        method,
        keep_alive,
        keep_alive_event,
        retry,
        flush,
        max_duration,
        end,
        error_event,
        ..
    } = &endpoint.args;
    let runtime = endpoint.args.runtime();
    let private = quote!(#runtime::__private);
    let item = item(returns, &runtime);
    let name = endpoint.function.sig.ident.to_string();
    let name = name.trim_start_matches("r#");
    let path = path
        .as_ref()
        .map_or_else(|| quote!("/"), quote::ToTokens::to_token_stream);
    let duration = |duration: &std::time::Duration| {
        let (seconds, nanos) = (
            Literal::u64_unsuffixed(duration.as_secs()),
            Literal::u32_unsuffixed(duration.subsec_nanos()),
        );
        quote!(::core::time::Duration::new(#seconds, #nanos))
    };
    let keys = [
        Some(docs)
            .filter(|docs| !docs.is_empty())
            .map(|docs| quote!(.docs(#docs))),
        method
            .get()
            .map(|method| quote!(.method(#private::Method::#method))),
        keep_alive.get().map(|keep_alive| match keep_alive {
            KeepAlive::After(after) => {
                let after = duration(after);
                quote!(.keep_alive(::core::option::Option::Some(#after)))
            }
            KeepAlive::Off => quote!(.keep_alive(::core::option::Option::None)),
        }),
        keep_alive_event
            .get()
            .map(|name| quote!(.keep_alive_event(#name))),
        retry
            .get()
            .map(duration)
            .map(|retry| quote!(.retry(#retry))),
        flush.get().map(|flush| match flush {
            Flush::Each => quote!(.flush(#private::Flush::Each)),
            Flush::Ready => quote!(.flush(#private::Flush::Ready)),
        }),
        max_duration
            .get()
            .map(duration)
            .map(|limit| quote!(.max_duration(#limit))),
        end.get().map(|end| match end {
            End::Reconnect => quote!(.end(#private::EndKey::Reconnect)),
            End::Stop => quote!(.end(#private::EndKey::Stop)),
        }),
        error_event.get().map(|name| quote!(.error_event(#name))),
    ];
    let keys = keys.iter().flatten();
    quote!(#private::Endpoint::new::<#item>(#path, #name) #(#keys)*)
}

/// From the extracted arguments to the generator.
fn handler(endpoint: &Endpoint, returns: &Returns) -> TokenStream {
    let runtime = endpoint.args.runtime();
    let private = quote!(#runtime::__private);
    let sig = &endpoint.function.sig;
    let name = &sig.ident;
    let yielder = yielder();
    let arguments: Vec<Ident> = (0..sig.inputs.len())
        .map(|at| Ident::new(&format!("__argument{at}"), Span::mixed_site()))
        .collect();

    // Each check stands at the type that it is about, and is made once.
    let item_type = item(returns, &runtime);
    let item_span = returns.item.as_ref().unwrap_or(&returns.whole_item).span();
    let item = quote_spanned!(item_span=> {
        use #private::ItemOf as _;
        #private::Probe::<#item_type>::new().item()
    });
    let error = returns.stream_error.as_ref().map(|error| {
        let ty = error_type(error, &runtime);
        quote_spanned!(ty.span()=> #private::error::<#ty, _>(),)
    });
    let rejection = returns.response_error.as_ref().map(|error| {
        let ty = error_type(error, &runtime);
        quote_spanned!(ty.span()=> #private::rejection::<#ty>(),)
    });
    let constructor = match returns.form() {
        Form::Stream => "stream",
        Form::TryStream => "try_stream",
        Form::Response => "response",
        Form::TryResponse => "try_response",
    };
    // A coroutine that is not `Send` is reported here, so it is reported at the user's `async`.
    let at = sig
        .asyncness
        .map_or_else(|| name.span(), |token| token.span);
    let constructor = Ident::new(constructor, at);
    let generator = quote_spanned!(at=> #private::Generator::#constructor);
    quote! {
        |#(#arguments),*| #generator(#item, #error #rejection |#yielder| #name(#yielder, #(#arguments),*))
    }
}

/// What stands in for an endpoint whose signature is not usable: whoever mounts it is not told a second time.
fn stub(endpoint: &Endpoint, usable: bool) -> TokenStream {
    let runtime = endpoint.args.runtime();
    let vis = &endpoint.function.vis;
    let name = &endpoint.function.sig.ident;
    let extractors = endpoint.extractors().filter(|_| usable);
    let outer = Attributes::split(&endpoint.function.attrs).outer;
    quote! {
        #(#outer)*
        #[allow(warnings)]
        #vis fn #name() -> #runtime::SseRoute<fn(#(#extractors),*) -> #runtime::__private::Generator> {
            ::core::unreachable!()
        }
    }
}

fn item(returns: &Returns, runtime: &TokenStream) -> TokenStream {
    match &returns.item {
        Some(item) => item.to_token_stream(),
        None => {
            let whole = &returns.whole_item;
            quote_spanned!(whole.span()=> <#whole as #runtime::__private::Fallible>::Ok)
        }
    }
}

fn error_type(error: &ErrorType, runtime: &TokenStream) -> TokenStream {
    match error {
        ErrorType::Written(ty) => ty.to_token_stream(),
        ErrorType::Of(result) => {
            quote_spanned!(result.span()=> <#result as #runtime::__private::Fallible>::Error)
        }
    }
}

/// The name of the yielder, which no code of the user's can say.
fn yielder() -> Ident {
    Ident::new("__stream", Span::mixed_site())
}

/// A warning on stable: the use of something deprecated, at the span that it is about.
fn warning(warning: Warning) -> TokenStream {
    let Warning {
        name,
        span,
        message,
    } = warning;
    let constant = Ident::new(&name.to_uppercase(), span);
    let note = format!("{message} (`allow({name})` silences this)");
    quote_spanned! {span=>
        const _: () = {
            #[deprecated(note = #note)]
            const #constant: () = ();
            #constant
        };
    }
}

/// The attributes by where they belong.
struct Attributes {
    /// On the function that is left behind: what its callers, its docs and the lints see.
    outer: Vec<Attribute>,
    /// On the user's function inside.
    inner: Vec<Attribute>,
}

impl Attributes {
    fn split(attributes: &[Attribute]) -> Self {
        const OUTER: [&str; 10] = [
            "doc",
            "cfg",
            "deprecated",
            "allow",
            "expect",
            "warn",
            "deny",
            "forbid",
            "must_use",
            "cfg_attr",
        ];
        let (outer, inner) = attributes.iter().cloned().partition(|attribute| {
            let path = match &attribute.meta {
                // `cfg_attr(condition, attribute)` goes where its attribute goes.
                Meta::List(list) if list.path.is_ident("cfg_attr") => {
                    match applied(list.tokens.clone()) {
                        Some(applied) => return OUTER.iter().any(|name| applied == name),
                        None => list.path.clone(),
                    }
                }
                meta => meta.path().clone(),
            };
            OUTER.iter().any(|name| path.is_ident(name))
        });
        let mut split = Self { outer, inner };
        for attribute in split.outer.iter_mut().chain(&mut split.inner) {
            attribute.style = syn::AttrStyle::Outer;
        }
        split
    }

    /// The lines of the doc comment, as rustdoc joins them.
    fn docs(&self) -> String {
        let lines = self
            .outer
            .iter()
            .filter_map(|attribute| match &attribute.meta {
                Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
                    Expr::Lit(ExprLit {
                        lit: Lit::Str(line),
                        ..
                    }) => Some(line.value()),
                    _ => None,
                },
                _ => None,
            });
        let lines: Vec<String> = lines
            .map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned())
            .collect();
        lines.join("\n")
    }
}

/// The name of the attribute that a `cfg_attr` applies.
fn applied(tokens: TokenStream) -> Option<Ident> {
    let mut tokens = tokens.into_iter();
    tokens.find(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ','))?;
    match tokens.next()? {
        TokenTree::Ident(name) => Some(name),
        _ => None,
    }
}

/// `#[instrument]` records every argument; the yielder is none of the user's.
fn keep_out(attribute: &Attribute, yielder: &Ident) -> TokenStream {
    let is_instrument = attribute
        .path()
        .segments
        .last()
        .is_some_and(|last| last.ident == "instrument");
    if !is_instrument {
        return attribute.to_token_stream();
    }
    let path = attribute.path();
    let tokens = match &attribute.meta {
        Meta::List(list) => list.tokens.clone(),
        _ => TokenStream::new(),
    };
    let mut out = TokenStream::new();
    let mut skips = false;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is = |name: &str| matches!(&token, TokenTree::Ident(ident) if ident == name);
        skips |= is("skip_all");
        if is("skip")
            && let Some(TokenTree::Group(group)) = tokens.peek().cloned()
        {
            tokens.next();
            skips = true;
            let skipped = group.stream();
            out.extend(quote!(#token(#yielder, #skipped)));
        } else {
            out.extend([token]);
        }
    }
    if !skips {
        let comma = (!out.is_empty()).then(|| quote!(,));
        out = quote!(skip(#yielder) #comma #out);
    }
    quote_spanned!(attribute.span()=> #[#path(#out)])
}
