//! The expansion of `#[derive(SseEvent)]`.
//!
//! ```text
//! // Input                       // Output
//! #[derive(SseEvent)]            const _: () = {
//! enum Chat {                        #[derive(Serialize)] #[serde(remote = "Chat")]
//!     Token { text: String },        enum __SseChat { Token { text: String }, Finished }
//!     Finished,                      impl Serialize for Chat {
//! }                                      fn serialize(&self, serializer) {
//!                                            with_head(serializer, || match self {
//!                                                Self::Token { .. } => head().event("token"),
//!                                                Self::Finished => head().event("finished"),
//!                                            }, |serializer| __SseChat::serialize(self, serializer))
//!                                        }
//!                                    }
//!                                    impl SseEvent for Chat { const SHAPE: Shape = … }
//!                                };
//! ```
//!
//! The content is serialized by serde's own derive, which is applied to a copy of the type. The
//! copy keeps all serde attributes. The `impl Serialize` for the original type adds the event's
//! head.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Data, DeriveInput, Ident, LitStr, Type, WherePredicate, parse_quote,
    spanned::Spanned as _,
    visit_mut::{self, VisitMut},
};

use super::{
    super::option,
    bounds::bounds,
    model::{Model, Shape, ShapeData},
};
use crate::{
    derive::serde_attribute,
    support::{errors::Errors, runtime_path::Runtime, warning::Warning},
};

pub(crate) fn expand(model: &Model, errors: Errors) -> TokenStream {
    let failed = !errors.is_empty();
    let errors = errors.into_compile_errors();
    let bounds = bounds(&model.input);
    let private = model.runtime.internals();
    let (helper, serialize, shape, variants) = if failed {
        // Generate the impls despite the errors, so that uses of the type do not cause further
        // errors.
        let nothing = quote!(#private::Shape::Enum(&[]));
        let variants = quote!(#private::variants! { false; });
        (
            TokenStream::new(),
            quote!(::core::unreachable!()),
            nothing,
            variants,
        )
    } else {
        let helper = helper(&model.input, &bounds);
        (helper, serialize(model), shape(model), variants(model))
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
    let import = runtime.import();
    quote! {
        #(#errors)*
        #(#warnings)*
        #[allow(warnings)]
        const _: () = {
            #import
            // Import serde under a plain name, because the strings in serde's attributes cannot
            // contain `$crate`.
            use #private::serde as __serde;
            #helper
            #[automatically_derived]
            impl #params __serde::Serialize for #name #arguments #clause {
                fn serialize<__S: __serde::Serializer>(
                    &self,
                    __serializer: __S,
                ) -> ::core::result::Result<__S::Ok, __S::Error> {
                    #serialize
                }
            }
            #[automatically_derived]
            impl #params #runtime::SseEvent for #name #arguments #clause {
                const SHAPE: #private::Shape = #shape;

                #variants
            }
        };
    }
}

/// Returns the name of the copy. The prefix differs from that of the names in serde's own code, such
/// as `__S` and `__Visitor`.
fn helper_name(name: &Ident) -> Ident {
    format_ident!("__Sse{}", name)
}

/// Generates the copy of the type. serde's derive is applied to this copy.
fn helper(input: &DeriveInput, bounds: &[WherePredicate]) -> TokenStream {
    let mut copy = input.clone();
    let name = &input.ident;
    let (_, arguments, _) = input.generics.split_for_impl();
    SelfAsOriginal(parse_quote!(#name #arguments)).visit_derive_input_mut(&mut copy);
    for attributes in attributes_of(&mut copy.data) {
        serde_attribute::retain(attributes);
    }
    serde_attribute::retain(&mut copy.attrs);
    copy.attrs
        .retain(|attribute| !attribute.path().is_ident("serde"));
    if let Data::Enum(data) = &mut copy.data {
        for variant in &mut data.variants {
            variant.discriminant = None;
        }
    }
    copy.vis = syn::Visibility::Inherited;
    copy.ident = helper_name(name);

    let text = |text: String| LitStr::new(&text, name.span());
    let remote = text(name.to_string());
    let bounds = text(quote!(#(#bounds),*).to_string());
    let renamed = serde_attribute::for_serializing(&input.attrs, "rename").is_some();
    let unrawed = text(name.to_string().trim_start_matches("r#").to_owned());
    let rename = (!renamed).then(|| quote!(#[serde(rename(serialize = #unrawed))]));
    let said = serde_attribute::of_container(&input.attrs);
    quote! {
        #[derive(__serde::Serialize)]
        #[serde(crate = "__serde", remote = #remote, bound(serialize = #bounds))]
        #rename
        #said
        #copy
    }
}

/// Replaces `Self` in the copy with the original type. Otherwise, `Self` would refer to the copy.
struct SelfAsOriginal(Type);

impl SelfAsOriginal {
    /// Converts `Self::N` to `<Original>::N`.
    fn qualified(&self, path: &syn::Path) -> Option<TokenStream> {
        let mut segments = path.segments.iter();
        let original = &self.0;
        let is_self = path.leading_colon.is_none() && segments.next()?.ident == "Self";
        (is_self && path.segments.len() > 1).then(|| quote!(<#original> #(::#segments)*))
    }
}

impl VisitMut for SelfAsOriginal {
    fn visit_expr_mut(&mut self, expr: &mut syn::Expr) {
        if let syn::Expr::Path(path) = expr
            && path.qself.is_none()
            && let Some(qualified) = self.qualified(&path.path)
        {
            *expr = parse_quote!(#qualified);
            return;
        }
        visit_mut::visit_expr_mut(self, expr);
    }

    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::Path(path) if path.qself.is_none() && path.path.is_ident("Self") => {
                *ty = self.0.clone();
            }
            Type::Path(path) if path.qself.is_none() => {
                if let Some(qualified) = self.qualified(&path.path) {
                    *ty = parse_quote!(#qualified);
                } else {
                    visit_mut::visit_type_mut(self, ty);
                }
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

/// Generates the body of `serialize`.
fn serialize(model: &Model) -> TokenStream {
    let private = model.runtime.internals();
    let helper = helper_name(&model.input.ident);
    let arms = model
        .shapes
        .iter()
        .map(|shape| arm(shape, &model.runtime, model.is_whole));
    let heads = match &model.input.data {
        Data::Enum(data) if data.variants.is_empty() => quote!(match *self {}),
        _ => quote!(match self { #(#arms),* }),
    };
    quote! {
        #private::with_head(
            __serializer,
            || #heads,
            |__serializer| {
                use #private::SaidBySerde as _;
                #helper::serialize(self, __serializer)
            },
        )
    }
}

/// Generates the arm that returns the head for one variant.
fn arm(shape: &Shape, runtime: &Runtime, is_whole: bool) -> TokenStream {
    let private = runtime.internals();
    let path = match &shape.variant {
        Some(variant) => quote!(Self::#variant),
        None => quote!(Self),
    };
    let (mut bindings, mut head) = (Vec::new(), quote!(#private::Head::new()));
    if is_whole {
        head = quote!(#head.whole());
    }
    if let Some(event) = &shape.event {
        head = quote!(#head.event(#event));
    }
    if let Some(id) = &shape.id {
        let member = &id.member;
        bindings.push(quote!(#member: __id));
        // If the field's type cannot be used as an event ID, the compiler reports the error at this
        // span.
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

/// Generates the type's `Shape`, which clients use to parse the events.
fn shape(model: &Model) -> TokenStream {
    let private = model.runtime.internals();
    let shapes = model
        .shapes
        .iter()
        .filter(|shape| !shape.is_never_read)
        .map(|shape| {
            let (event, data) = (option(shape.event.as_ref()), format(shape));
            quote!(#private::Named { event: #event, data: #private::NamedData::#data })
        });
    match model.input.data {
        Data::Struct(_) => quote!(#private::Shape::Struct(#(#shapes)*)),
        _ if model.is_whole => quote!(#private::Shape::Whole(&[#(#shapes),*])),
        _ => quote!(#private::Shape::Enum(&[#(#shapes),*])),
    }
}

/// Generates the description of the variants that can be sent, which is used to split the type's
/// JSON schema into the schemas of its variants.
fn variants(model: &Model) -> TokenStream {
    let private = model.runtime.internals();
    let variants = model
        .shapes
        .iter()
        .filter(|shape| !shape.is_never_sent)
        .map(|shape| {
            let (tag, event) = (option(shape.tag.as_ref()), option(shape.event.as_ref()));
            let (data, is_exact) = (format(shape), shape.is_exact);
            quote!({ #tag, #event, #data, #is_exact })
        });
    let is_cut = model.is_cut;
    quote!(#private::variants! { #is_cut; #(#variants)* })
}

/// Returns the name of the `NamedData` variant for the data.
fn format(shape: &Shape) -> Ident {
    let name = match shape.data {
        ShapeData::Json => "Json",
        ShapeData::Text(..) => "Text",
        ShapeData::Empty => "Empty",
    };
    format_ident!("{name}")
}
