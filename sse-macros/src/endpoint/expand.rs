//! Generates the expansion of an endpoint.
//!
//! ```text
//! // Input                                          // Output
//! /// The time.                                     /// The time.
//! #[sse_endpoint("/clock")]                         fn clock() -> SseRoute<fn() -> Generator> {
//! async fn clock() -> impl Stream<Item = Time> {        type __Item = Time;
//!     loop {                                            async fn clock(__stream: Yielder<__Item>) {
//!         tick().await;                                     loop {
//!         yield_!(now());                                       guard(tick()).await;
//!     }                                                         { __stream.push(now()); __stream.flushed().await; }
//! }                                                         }
//!                                                       }
//!                                                       fn __declared() -> impl Stream<Item = __Item> { Items::new() }
//!                                                       route(describe!(Endpoint::new("/clock", "clock"); …), || Generator::stream(…, clock))
//!                                                   }
//! ```
//!
//! The user's function remains an `async fn`, but has an additional first argument. The function's
//! attributes and patterns therefore keep their meaning, and the compiler's diagnostics about them
//! do not change. The runtime implements all behaviour. Each type in the signature appears only
//! once in the expansion, so the compiler reports an unknown type only once. The golden files under
//! `expanded/` show complete expansions.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{parse_quote, spanned::Spanned as _};

use super::{
    attributes::Attributes,
    body::yields,
    check,
    model::Endpoint,
    returns::{self, Form, Returns},
    warnings,
};
use crate::support::{
    description::describe,
    errors::Errors,
    runtime_path::{Runtime, internal_span, yielder},
    warning::Warning,
};

/// The names of the type aliases for the types in the signature.
const CARRIED: &str = "__Carried";
const ITEM: &str = "__Item";
const ERROR: &str = "__Error";
const REJECTION: &str = "__Rejection";

pub(crate) fn expand(endpoint: &Endpoint, errors: Errors) -> TokenStream {
    match &endpoint.returns {
        Some(returns) if check::has_route(&endpoint.function.sig) => {
            whole(endpoint, returns, errors)
        }
        _ => stub(endpoint, errors),
    }
}

/// Generates the complete expansion, even if there were errors. In that case, silences all warnings
/// about the expansion.
fn whole(endpoint: &Endpoint, returns: &Returns, errors: Errors) -> TokenStream {
    let Endpoint { runtime, .. } = endpoint;
    let attributes = Attributes::split(&endpoint.function.attrs);
    let failed = !errors.is_empty();
    let warnings = warnings::warnings(endpoint);
    let warnings = warnings.iter().map(Warning::write).filter(|_| !failed);

    let mut errors = errors.into_compile_errors();
    let private = runtime.internals();
    // If there are errors, make one of them part of the return type. The compiler then does not
    // know the type and therefore does not report follow-up errors.
    let output = errors.next_back().map_or_else(
        || output(returns, runtime),
        |error| quote!(<[(); #error] as #private::Fallible>::Ok),
    );
    let function = function(endpoint, returns.form(), &attributes, &output);
    let aliases = aliases(returns, runtime);
    let declared = declared(returns, runtime);
    let config = config(endpoint, returns, &attributes);
    let handler = handler(endpoint, returns);
    let signature = signature(endpoint, &attributes, failed);
    let import = runtime.import();
    let inside = quote! {
        #import
        #(#warnings)*
        #aliases
        #function
        #declared
        #private::route(#config, #handler)
    };
    let block = in_braces_of(endpoint, &inside);
    quote!(#(#errors)* #signature #block)
}

/// Surrounds `code` with the braces of the user's function.
fn in_braces_of(endpoint: &Endpoint, code: &TokenStream) -> TokenStream {
    let braces = endpoint.function.block.brace_token.span.join();
    quote_spanned!(braces=> { #code })
}

/// Generates the replacement for an endpoint that cannot be mounted. The replacement has a valid
/// type, so mounting it on a router does not cause another error.
pub(crate) fn stub(endpoint: &Endpoint, errors: Errors) -> TokenStream {
    let attributes = Attributes::split(&endpoint.function.attrs);
    let errors = errors.into_compile_errors();
    let signature = signature(endpoint, &attributes, true);
    let sig = &endpoint.function.sig;
    let (generics, output) = (&sig.generics, &sig.output);
    let clause = &generics.where_clause;
    let types = endpoint.extractors();
    quote! {
        #(#errors)*
        #signature {
            // This trait uses the names in the user's signature, so the compiler does not warn that
            // they are unused.
            trait Declared { fn declared #generics (#(_: #types),*) #output #clause; }
            ::core::unreachable!()
        }
    }
}

/// Generates the signature of the function that replaces the user's function.
fn signature(endpoint: &Endpoint, attributes: &Attributes, failed: bool) -> TokenStream {
    let Endpoint {
        runtime, function, ..
    } = endpoint;
    let outer = &attributes.outer;
    let quiet = failed.then(|| quote!(#[allow(warnings)]));
    // The `fn` token and the braces come from the user's function. If they were generated, the
    // compiler would not warn about an unused endpoint.
    let (vis, fn_token, name) = (&function.vis, function.sig.fn_token, &function.sig.ident);
    // Without the empty angle brackets, the compiler would suggest a type parameter for every
    // unknown type, both here and in the nested function.
    let generics = quote!(<>);
    let usable = check::has_route(&function.sig);
    let extractors = endpoint.extractors().filter(|_| usable);
    // Write the path in full, because the signature is outside the block that contains the import.
    quote! {
        #(#outer)*
        #quiet
        #vis #fn_token #name #generics()
            -> #runtime::SseRoute<fn(#(#extractors),*) -> #runtime::route::Generator>
    }
}

/// Generates the user's function, with the yielder as an additional first argument.
fn function(
    endpoint: &Endpoint,
    form: Form,
    attributes: &Attributes,
    output: &TokenStream,
) -> TokenStream {
    let private = endpoint.runtime.internals();
    let sig = &endpoint.function.sig;
    let (name, inputs) = (&sig.ident, &sig.inputs);
    let stream = yielder(Span::call_site());
    let inner = attributes.inner(&stream);
    // The yielder can push the number of arguments over Clippy's limit of seven. The user cannot
    // change this.
    let many = (inputs.len() == 7).then(|| quote!(#[allow(clippy::too_many_arguments)]));
    let item = alias(ITEM, Span::call_site());
    let macros = endpoint
        .body
        .needs_yield_macros
        .then(|| yields::macros(form, &endpoint.runtime));
    let body = body(endpoint, form);
    let async_token = sig.asyncness.unwrap_or_default();
    let fn_token = sig.fn_token;
    quote! {
        #(#inner)*
        #many
        #async_token #fn_token #name(#stream: #private::Yielder<#item>, #inputs) -> #output {
            #macros
            #body
        }
    }
}

/// Generates the function body, which consists of the user's statements, the call that begins the
/// response, and the final `return`.
fn body(endpoint: &Endpoint, form: Form) -> TokenStream {
    let private = endpoint.runtime.internals();
    let body = &endpoint.body;
    let mut statements: Vec<TokenStream> = body
        .statements
        .iter()
        .map(ToTokens::to_token_stream)
        .collect();
    if let Some(first) = body.first_yield.filter(|_| form.has_prelude()) {
        let at = body.statements[first].span();
        let stream = yielder(at);
        statements.insert(
            first,
            quote_spanned!(internal_span(at)=> #stream.begin().await;),
        );
    }
    if form == Form::Stream {
        return quote!(#(#statements)*);
    }
    // Do not reuse the user's own braces here, because the compiler would report them as
    // unnecessary if they contained a single statement.
    let block = quote_spanned!(Span::mixed_site()=> { #(#statements)* });
    // The `return` may be unreachable, but the user did not write it, so suppress the warning.
    quote! {
        #block
        #[allow(unreachable_code)]
        return ::core::result::Result::Ok(#private::End::END);
    }
}

/// Generates the coroutine's output type, at the span of the user's return type.
fn output(returns: &Returns, runtime: &Runtime) -> TokenStream {
    let at = returns.stream.span();
    let private = runtime.private(at);
    let (error, rejection) = (alias(ERROR, at), alias(REJECTION, at));
    let error = match returns.form() {
        Form::Stream => return quote_spanned!(at=> ()),
        Form::TryStream => error.to_token_stream(),
        Form::Response => rejection.to_token_stream(),
        Form::TryResponse => quote_spanned!(at=> #private::Exit<#rejection, #error>),
    };
    quote_spanned!(at=> ::core::result::Result<#private::End, #error>)
}

/// Generates the aliases for the types in the signature. The types themselves appear only in these
/// aliases.
fn aliases(returns: &Returns, runtime: &Runtime) -> TokenStream {
    let [carried, item, error, rejection] =
        [CARRIED, ITEM, ERROR, REJECTION].map(|name| alias(name, Span::call_site()));
    let written = &returns.carried;
    let private = runtime.private(written.span());
    let stream = if returns.stream_error.is_some() {
        quote_spanned! {written.span()=>
            type #carried = #written;
            type #item = <#carried as #private::Fallible>::Ok;
            type #error = <#carried as #private::Fallible>::Error;
        }
    } else {
        quote!(type #item = #written;)
    };
    let response = returns.response.as_ref().map(|response| {
        let result = &response.result;
        let private = runtime.private(response.error);
        quote_spanned!(response.error=> type #rejection = <#result as #private::Fallible>::Error;)
    });
    quote!(#stream #response)
}

/// Generates a function with the user's return type. The function marks the names in the return
/// type as used and makes the compiler check that the type is a stream.
fn declared(returns: &Returns, runtime: &Runtime) -> TokenStream {
    let mut stream = returns.stream.clone();
    let at = stream.span();
    let name = match returns.stream_error {
        Some(_) => CARRIED,
        None => ITEM,
    };
    let items = alias(name, returns.carried.span());
    if let Some((_, item)) = returns::item_of(&mut stream) {
        *item = parse_quote!(#items);
    }
    let private = runtime.private(at);
    quote_spanned! {at=>
        fn __declared() -> #stream {
            #private::Items::<#items>::new()
        }
        let _ = __declared;
    }
}

/// Generates `Endpoint::new(…)`, the calls for the attribute's keys, and the description of the types
/// in the signature.
fn config(endpoint: &Endpoint, returns: &Returns, attributes: &Attributes) -> TokenStream {
    let private = endpoint.runtime.internals();
    let item = alias(ITEM, Span::call_site());
    let name = endpoint.function.sig.ident.to_string();
    let name = name.trim_start_matches("r#");
    let path = endpoint.args.path.as_ref();
    let path = path.map_or_else(|| quote!("/"), ToTokens::to_token_stream);
    let docs = attributes.docs();
    let docs = (!docs.is_empty()).then(|| quote!(.docs(#docs)));
    let keys = endpoint.args.calls(&private);
    let configured = quote!(#private::Endpoint::new::<#item>(#path, #name) #docs #(#keys)*);
    let error = returns.stream_error.map(|span| alias(ERROR, span));
    let response = returns.response.as_ref();
    let rejection = response.map(|response| alias(REJECTION, response.error));
    let extractors = endpoint.extractors();
    let contents = endpoint.body.contents.iter();
    let contents = contents.map(|name| Ident::new(name, Span::call_site()));
    let is_deprecated = attributes.is_deprecated();
    quote! {
        #private::describe!(
            #configured; #item; [#error]; [#rejection]; [#(#extractors),*];
            [#(#contents),*]; is_deprecated: #is_deprecated
        )
    }
}

/// Generates the closure that creates the generator from the extracted arguments.
fn handler(endpoint: &Endpoint, returns: &Returns) -> TokenStream {
    let runtime = &endpoint.runtime;
    let sig = &endpoint.function.sig;
    let name = &sig.ident;
    let arguments: Vec<Ident> = (0..sig.inputs.len())
        .map(|at| Ident::new(&format!("__argument{at}"), Span::mixed_site()))
        .collect();

    // Each type is checked once, at its own span.
    let (item, private) = at(ITEM, returns.item, runtime);
    let item = quote_spanned! {returns.item=> {
        #[allow(unused_imports)]
        use #private::ItemOf as _;
        #private::Probe::<#item>::new().item()
    }};
    let error = returns.stream_error.map(|span| {
        let (error, private) = at(ERROR, span, runtime);
        let describe = describe(&error, runtime);
        quote_spanned!(span=> #private::error::<#error, _>(#describe),)
    });
    let rejection = returns.response.as_ref().map(|response| {
        let (rejection, private) = at(REJECTION, response.error, runtime);
        quote_spanned!(response.error=> #private::rejection::<#rejection>(),)
    });
    let constructor = match returns.form() {
        Form::Stream => "stream",
        Form::TryStream => "try_stream",
        Form::Response => "response",
        Form::TryResponse => "try_response",
    };
    // If the coroutine is not `Send`, the compiler reports the error at this expression, so the
    // expression has the span of the user's `async`.
    let span = sig
        .asyncness
        .map_or_else(|| name.span(), |token| token.span);
    let (private, stream) = (runtime.private(span), yielder(span));
    let constructor = Ident::new(constructor, span);
    let mut run = name.clone();
    run.set_span(span);
    let run = if arguments.is_empty() {
        quote!(#run)
    } else {
        quote_spanned!(span=> |#stream| #run(#stream, #(#arguments),*))
    };
    quote_spanned! {span=>
        |#(#arguments),*| #private::Generator::#constructor(#item, #error #rejection #run)
    }
}

/// Returns a type's alias and the path to the runtime. Both have the span of the type in the
/// signature.
fn at(name: &str, span: Span, runtime: &Runtime) -> (Ident, TokenStream) {
    (alias(name, span), runtime.private(span))
}

fn alias(name: &str, at: Span) -> Ident {
    Ident::new(name, at)
}
