//! The expansion of `#[derive(SseError)]`.
//!
//! ```text
//! // Input                            // Output
//! #[derive(SseError)]                 const _: () = {
//! enum Refused {                          impl Serialize for Refused {
//!     #[sse(status = 404)]                    fn serialize(&self, serializer) {
//!     NoRoom { room: u64 },                       with_head(serializer, || head().retry(…).stop(…), |serializer| {
//! }                                                   let mut members = serializer.serialize_map(None)?;
//!                                                     match self {
//!                                                         Self::NoRoom { room } => {
//!                                                             problem.write(&[], &mut members)?;
//!                                                             Member(room).member("room", &mut members)?;
//!                                                         }
//!                                                     }
//!                                                     members.end()
//!                                                 })
//!                                             }
//!                                         }
//!                                         impl SseError for Refused { fn problem(&self) -> Problem { … } … }
//!                                         impl IntoResponse for Refused { … }
//!                                     };
//! ```

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Data, spanned::Spanned as _};

use super::{
    super::option,
    model::{Model, Problem, RetryAfter, ShownField, Transparent},
};
use crate::support::{description::describe, errors::Errors, runtime_path::Runtime};

pub(crate) fn expand(model: &Model, errors: Errors) -> TokenStream {
    let failed = !errors.is_empty();
    let errors = errors.into_compile_errors();
    let Model { input, runtime, .. } = model;
    let private = runtime.internals();
    let (serialize, problem, retry_after, inside, problems) = if failed {
        // Generate the impls despite the errors, so that uses of the type do not cause further
        // errors.
        let nothing = || quote!(::core::unreachable!());
        let problems = quote!(#private::problems! {});
        (nothing(), nothing(), nothing(), None, problems)
    } else {
        (
            serialize(model),
            forwarded(model, "problem", |problem| problem_of(problem, runtime)),
            forwarded(model, "retry_after", |problem| {
                retry_after(problem, runtime)
            }),
            has_inside(model).then(|| inside(model)),
            problems(model),
        )
    };
    let name = &input.ident;
    let describe = describe(quote!(Self), runtime);
    let (params, arguments, clause) = input.generics.split_for_impl();
    let import = runtime.import();
    quote! {
        #(#errors)*
        #[allow(warnings)]
        const _: () = {
            #import
            #[automatically_derived]
            impl #params #private::serde::Serialize for #name #arguments #clause {
                fn serialize<__S: #private::serde::Serializer>(
                    &self,
                    __serializer: __S,
                ) -> ::core::result::Result<__S::Ok, __S::Error> {
                    #serialize
                }
            }
            #[automatically_derived]
            impl #params #runtime::SseError for #name #arguments #clause {
                fn problem(&self) -> #private::Problem {
                    #problem
                }

                fn retry_after(&self) -> ::core::option::Option<::core::time::Duration> {
                    #retry_after
                }

                #inside

                #problems
            }
            #[automatically_derived]
            impl #params #runtime::axum::response::IntoResponse for #name #arguments #clause {
                fn into_response(self) -> #runtime::axum::response::Response {
                    #private::respond(&self, #describe)
                }
            }
        };
    }
}

fn has_inside(model: &Model) -> bool {
    model
        .problems
        .iter()
        .any(|problem| problem.transparent.is_some())
}

/// Generates the method that returns the error inside a transparent variant.
fn inside(model: &Model) -> TokenStream {
    let private = model.runtime.internals();
    let arms = each(model, |problem| {
        let path = path(problem);
        match &problem.transparent {
            None => quote!(#path { .. } => ::core::option::Option::None,),
            Some(Transparent { member, ty }) => {
                // If the type does not implement `SseError`, the compiler reports the error at this
                // span.
                let check = model.runtime.private(ty.span());
                let inside = quote_spanned!(ty.span()=> #check::inside::<#ty>(__error));
                quote!(#path { #member: __error } => #inside,)
            }
        }
    });
    quote! {
        fn inside(&self) -> ::core::option::Option<&dyn #private::Inside> {
            #arms
        }
    }
}

/// Generates a method body that delegates to the inner error if the variant is transparent. For
/// every other variant, `arm` generates the `match` arm.
fn forwarded(model: &Model, method: &str, arm: impl Fn(&Problem) -> TokenStream) -> TokenStream {
    let arms = each(model, arm);
    if !has_inside(model) {
        return arms;
    }
    let (runtime, method) = (&model.runtime, format_ident!("{method}"));
    quote! {
        match #runtime::SseError::inside(self) {
            ::core::option::Option::Some(__error) => __error.#method(),
            ::core::option::Option::None => #arms,
        }
    }
}

/// Generates a `match` with one arm per variant.
fn each(model: &Model, arm: impl Fn(&Problem) -> TokenStream) -> TokenStream {
    match &model.input.data {
        Data::Enum(data) if data.variants.is_empty() => quote!(match *self {}),
        _ => {
            let arms = model.problems.iter().map(arm);
            quote!(match self { #(#arms)* })
        }
    }
}

fn path(problem: &Problem) -> TokenStream {
    match &problem.variant {
        Some(variant) => quote!(Self::#variant),
        None => quote!(Self),
    }
}

fn serialize(model: &Model) -> TokenStream {
    let runtime = &model.runtime;
    let private = runtime.internals();
    let members = each(model, |problem| members(problem, runtime));
    let inside = has_inside(model).then(|| {
        quote! {
            if let ::core::option::Option::Some(__error) = #runtime::SseError::inside(self) {
                return #private::serialize_inside(__error, __serializer);
            }
        }
    });
    quote! {
        #private::with_head(
            __serializer,
            || #private::Head::new()
                .retry(#runtime::SseError::retry_after(self))
                .stop(#runtime::SseError::problem(self).stop),
            |__serializer| {
                #inside
                use #private::{HideMember as _, ShowMember as _};
                let mut __members = #private::serde::Serializer::serialize_map(
                    __serializer,
                    ::core::option::Option::None,
                )?;
                let __problem = #runtime::SseError::problem(self);
                #members
                #private::serde::ser::SerializeMap::end(__members)
            },
        )
    }
}

/// Generates the arm that writes the JSON members for one variant.
fn members(problem: &Problem, runtime: &Runtime) -> TokenStream {
    let private = runtime.internals();
    let path = path(problem);
    let (mut bindings, mut writes, mut taken) = (Vec::new(), Vec::new(), Vec::new());
    for (at, field) in problem.fields.iter().enumerate() {
        let (member, name, binding) = (&field.member, &field.name, format_ident!("__field{at}"));
        let write = quote!(#private::Member(#binding).member(#name, &mut __members)?;);
        let is_skipped = field
            .skip_if
            .as_ref()
            .map(|skip_if| quote!(#skip_if(#binding)));
        writes.push(match &is_skipped {
            Some(is_skipped) => quote!(if !#is_skipped { #write }),
            None => write,
        });
        if MEMBERS.contains(&name.as_str()) {
            let is_shown = quote!(#private::Member(#binding).shows());
            let is_shown = match is_skipped {
                Some(is_skipped) => quote!(#is_shown && !#is_skipped),
                None => is_shown,
            };
            taken.push(quote!((#name, #is_shown)));
        }
        bindings.push(quote!(#member: #binding));
    }
    let after = problem.retry_after.as_ref();
    if let Some(name) = after.and_then(|after| after.name.as_ref()) {
        writes.push(quote! {
            #private::retry_after_member(
                #runtime::SseError::retry_after(self),
                #name,
                &mut __members,
            )?;
        });
        if MEMBERS.contains(&name.as_str()) {
            taken.push(quote!((#name, #runtime::SseError::retry_after(self).is_some())));
        }
    }
    quote! {
        #path { #(#bindings,)* .. } => {
            __problem.write(&[#(#taken),*], &mut __members)?;
            #(#writes)*
        }
    }
}

/// The standard members of a problem. A field that is sent under the name of a standard member
/// replaces that member.
const MEMBERS: [&str; 4] = ["type", "title", "detail", "code"];

/// Generates the description of every variant, which is used for the responses and events in an
/// OpenAPI document.
fn problems(model: &Model) -> TokenStream {
    let private = model.runtime.internals();
    let problems = model.problems.iter().map(|problem| {
        if let Some(Transparent { ty, .. }) = &problem.transparent {
            return quote!({ transparent #ty });
        }
        let known = known(problem, &model.runtime);
        let after = problem
            .retry_after
            .as_ref()
            .map(|RetryAfter { ty, name, .. }| {
                let name = option(name.as_ref());
                quote!(#ty, #name)
            });
        let members = problem.fields.iter().map(
            |ShownField {
                 name, ty, skip_if, ..
             }| {
                let is_optional = skip_if.is_some();
                quote!({ #name, #is_optional, #ty })
            },
        );
        let docs = &problem.docs;
        quote!({ #known, #docs, [#after], [#(#members)*] })
    });
    quote!(#private::problems! { #(#problems)* })
}

/// Generates the arm that returns the `Problem` for one variant.
fn problem_of(problem: &Problem, runtime: &Runtime) -> TokenStream {
    let (path, known) = (path(problem), known(problem, runtime));
    quote!(#path { .. } => #known,)
}

/// Generates the `Problem` of one variant.
fn known(problem: &Problem, runtime: &Runtime) -> TokenStream {
    let private = runtime.internals();
    let Problem {
        status,
        kind,
        title,
        detail,
        code,
        stop,
        ..
    } = problem;
    let texts = [kind, title, detail];
    let [kind, title, detail] = texts.map(|text| option(text.as_ref()));
    quote! {
        #private::Problem {
            status: #status,
            kind: #kind,
            title: #title,
            detail: #detail,
            code: #code,
            stop: #stop,
        }
    }
}

/// Generates the arm that returns the retry delay for one variant.
fn retry_after(problem: &Problem, runtime: &Runtime) -> TokenStream {
    let path = path(problem);
    match &problem.retry_after {
        None => quote!(#path { .. } => ::core::option::Option::None,),
        Some(after) => {
            let (member, ty) = (&after.member, &after.ty);
            // If the field's type cannot be used as a delay, the compiler reports the error at this
            // span.
            let private = runtime.private(ty.span());
            let read = quote_spanned!(ty.span()=> #private::retry_after::<#ty>(__after));
            quote!(#path { #member: __after, .. } => #read,)
        }
    }
}
