//! The code that an event type becomes.
//!
//! ```text
//! // Input                       // Output
//! #[derive(SseEvent)]            const _: () = {
//! enum Chat {                        #[derive(Serialize)] #[serde(remote = "Chat")]
//!     Token { text: String },        enum __Chat { Token { text: String }, Finished }
//!     Finished,                      impl Serialize for Chat {
//! }                                      fn serialize(&self, serializer) {
//!                                            with_head(serializer, || match self {
//!                                                Self::Token { .. } => head().event("token"),
//!                                                Self::Finished => head().event("finished"),
//!                                            }, |serializer| __Chat::serialize(self, serializer))
//!                                        }
//!                                    }
//!                                    impl SseEvent for Chat { const SHAPE: Shape = … }
//!                                };
//! ```
//!
//! What the fields become is serde's own derive, with all of serde's attributes, on a copy of the type: the one that is
//! asked for the impl would not let us say a word.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Data, DeriveInput, Ident, LitStr, Type, WherePredicate, parse_quote,
    spanned::Spanned as _,
    visit_mut::{self, VisitMut},
};

use super::{
    bounds::bounds,
    model::{Model, Shape, ShapeData},
};
use crate::{errors::Errors, runtime::Runtime, serde_attribute, warning::Warning};

pub(crate) fn expand(model: &Model, errors: Errors) -> TokenStream {
    let failed = !errors.is_empty();
    let errors = errors.into_compile_errors();
    let bounds = bounds(&model.input, &model.runtime);
    let private = model.runtime.internals();
    let (helper, serialize, shape) = if failed {
        // Whoever sends it is not told a second time.
        let nothing = quote!(#private::Shape::Enum(&[]));
        (TokenStream::new(), quote!(::core::unreachable!()), nothing)
    } else {
        let helper = helper(&model.input, &bounds, &model.runtime);
        (helper, serialize(model), shape(model))
    };
    let warnings = model
        .warnings
        .iter()
        .map(Warning::write)
        .filter(|_| !failed);
    let Model { input, runtime, .. } = model;
    let name = &input.ident;
    let mut generics = input.generics.clone();
    generics.make_where_clause().predicates.extend(bounds);
    let (params, arguments, clause) = generics.split_for_impl();
    quote! {
        #(#errors)*
        const _: () = {
            #(#warnings)*
            #helper
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
            impl #params #runtime::SseEvent for #name #arguments #clause {
                const SHAPE: #private::Shape = #shape;
            }
        };
    }
}

fn helper_name(name: &Ident) -> Ident {
    format_ident!("__{}", name)
}

/// The copy of the type that serde's derive works on.
fn helper(input: &DeriveInput, bounds: &[WherePredicate], runtime: &Runtime) -> TokenStream {
    let mut copy = input.clone();
    let name = &input.ident;
    let (_, arguments, _) = input.generics.split_for_impl();
    OfTheOriginal(parse_quote!(#name #arguments)).visit_derive_input_mut(&mut copy);
    for attributes in attributes_of(&mut copy.data) {
        serde_attribute::retain(attributes);
    }
    copy.attrs.clear();
    copy.vis = syn::Visibility::Inherited;
    copy.ident = helper_name(name);

    let private = runtime.internals();
    let text = |text: String| LitStr::new(&text, name.span());
    let serde = text(quote!(#private::serde).to_string().replace(' ', ""));
    let remote = text(name.to_string());
    let bounds = text(quote!(#(#bounds),*).to_string());
    let renamed = serde_attribute::for_serializing(&input.attrs, "rename").is_some();
    let unrawed = text(name.to_string().trim_start_matches("r#").to_owned());
    let rename = (!renamed).then(|| quote!(#[serde(rename = #unrawed)]));
    let said = serde_attribute::of_container(&input.attrs);
    quote! {
        #[derive(#private::serde::Serialize)]
        #[serde(crate = #serde, remote = #remote, bound(serialize = #bounds))]
        #rename
        #said
        #[allow(dead_code)]
        #copy
    }
}

/// In the copy `Self` would be the copy.
struct OfTheOriginal(Type);

impl VisitMut for OfTheOriginal {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::Path(path) if path.qself.is_none() && path.path.is_ident("Self") => {
                *ty = self.0.clone();
            }
            _ => visit_mut::visit_type_mut(self, ty),
        }
    }
}

fn attributes_of(data: &mut Data) -> Vec<&mut Vec<syn::Attribute>> {
    match data {
        Data::Struct(data) => data
            .fields
            .iter_mut()
            .map(|field| &mut field.attrs)
            .collect(),
        Data::Enum(data) => data
            .variants
            .iter_mut()
            .flat_map(|variant| {
                let fields = variant.fields.iter_mut().map(|field| &mut field.attrs);
                std::iter::once(&mut variant.attrs).chain(fields)
            })
            .collect(),
        Data::Union(_) => Vec::new(),
    }
}

/// The body of `serialize`.
fn serialize(model: &Model) -> TokenStream {
    let private = model.runtime.internals();
    let helper = helper_name(&model.input.ident);
    let arms = model.shapes.iter().map(|shape| arm(shape, &model.runtime));
    let heads = match &model.input.data {
        Data::Enum(data) if data.variants.is_empty() => quote!(match *self {}),
        _ => quote!(match self { #(#arms),* }),
    };
    quote! {
        #private::with_head(
            __serializer,
            || #heads,
            |__serializer| {
                #[allow(unused_imports)]
                use #private::SaidBySerde as _;
                #helper::serialize(self, __serializer)
            },
        )
    }
}

/// From a variant to its head.
fn arm(shape: &Shape, runtime: &Runtime) -> TokenStream {
    let private = runtime.internals();
    let path = match &shape.variant {
        Some(variant) => quote!(Self::#variant),
        None => quote!(Self),
    };
    let (mut bindings, mut head) = (Vec::new(), quote!(#private::Head::new()));
    if let Some(event) = &shape.event {
        head = quote!(#head.event(#event));
    }
    if let Some(id) = &shape.id {
        let member = &id.member;
        bindings.push(quote!(#member: __id));
        // A type that is no id is reported where it is written.
        let at = id.ty.span();
        let check = runtime.private(at);
        let ty = &id.ty;
        head = quote_spanned!(at=> #head.id(#check::event_id::<#ty>(__id)));
    }
    if let ShapeData::Text(member, ty) = &shape.data {
        bindings.push(quote!(#member: __text));
        let at = ty.span();
        let check = runtime.private(at);
        head = quote_spanned!(at=> #head.text(#check::is_text::<#ty>(__text)));
    }
    quote!(#path { #(#bindings,)* .. } => #head)
}

/// What a client has to know to read it back.
fn shape(model: &Model) -> TokenStream {
    let private = model.runtime.internals();
    let shapes = model
        .shapes
        .iter()
        .filter(|shape| !shape.is_never_read)
        .map(|shape| {
            let event = match &shape.event {
                Some(event) => quote!(::core::option::Option::Some(#event)),
                None => quote!(::core::option::Option::None),
            };
            let data = match shape.data {
                ShapeData::Json => quote!(Json),
                ShapeData::Text(..) => quote!(Text),
                ShapeData::Empty => quote!(Empty),
            };
            quote!(#private::Named { event: #event, data: #private::NamedData::#data })
        });
    match model.input.data {
        Data::Struct(_) => quote!(#private::Shape::Struct(#(#shapes)*)),
        _ if model.is_tagged => quote!(#private::Shape::Tagged(&[#(#shapes),*])),
        _ => quote!(#private::Shape::Enum(&[#(#shapes),*])),
    }
}
