//! Infers the bounds of `impl Serialize` with the heuristic that serde's derive uses, so a type has
//! the same bounds with either derive.

use quote::quote;
use std::collections::HashSet;
use syn::{
    Data, DeriveInput, Field, Generics, Path, Type, WherePredicate, parse_quote,
    visit::{self, Visit},
};

use crate::{derive::serde_attribute, support::types::unwrap_groups};

/// Returns the predicates in the type's `#[serde(bound = "…")]`, or the predicates that the fields
/// require if the type does not have this attribute.
pub(crate) fn bounds(input: &DeriveInput) -> Vec<WherePredicate> {
    if let Some(declared) = serde_attribute::bound(&input.attrs) {
        return declared;
    }
    let mut used = Used::of(&input.generics);
    let mut declared = Vec::new();
    for field in serialized_fields(&input.data) {
        match serde_attribute::bound(&field.attrs) {
            Some(bound) => declared.extend(bound),
            None if serde_attribute::has_custom_serializer(&field.attrs) => {}
            None => used.visit_field(field),
        }
    }
    let params = input.generics.type_params().map(|param| &param.ident);
    let params = params
        .filter(|param| used.params.contains(*param))
        .map(|param| quote!(#param));
    let paths = used.associated.iter().map(|path| quote!(#path));
    params
        .chain(paths)
        .map(|ty| parse_quote!(#ty: __serde::Serialize))
        .chain(declared)
        .collect()
}

/// Returns the fields that serde serializes.
fn serialized_fields(data: &Data) -> Vec<&Field> {
    let fields: Vec<&Field> = match data {
        Data::Struct(data) => data.fields.iter().collect(),
        Data::Enum(data) => data
            .variants
            .iter()
            .filter(|variant| {
                !serde_attribute::skips_serializing(&variant.attrs)
                    && !serde_attribute::has_custom_serializer(&variant.attrs)
            })
            .flat_map(|variant| &variant.fields)
            .collect(),
        Data::Union(_) => Vec::new(),
    };
    let is_serialized = |field: &&Field| !serde_attribute::skips_serializing(&field.attrs);
    fields.into_iter().filter(is_serialized).collect()
}

/// The type parameters that appear in field types, and their associated types.
struct Used<'a> {
    all: HashSet<&'a syn::Ident>,
    params: HashSet<syn::Ident>,
    associated: Vec<Path>,
}

impl<'a> Used<'a> {
    fn of(generics: &'a Generics) -> Self {
        Self {
            all: generics.type_params().map(|param| &param.ident).collect(),
            params: HashSet::new(),
            associated: Vec::new(),
        }
    }
}

impl<'ast> Visit<'ast> for Used<'_> {
    fn visit_field(&mut self, field: &'ast Field) {
        if let Type::Path(ty) = unwrap_groups(&field.ty)
            && ty.qself.is_none()
            && ty.path.segments.len() > 1
            && self.all.contains(&ty.path.segments[0].ident)
        {
            self.associated.push(ty.path.clone());
        }
        self.visit_type(&field.ty);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        // `PhantomData<T>` implements `Serialize` for every `T`.
        if path
            .segments
            .last()
            .is_some_and(|last| last.ident == "PhantomData")
        {
            return;
        }
        if let Some(param) = path.get_ident()
            && self.all.contains(param)
        {
            self.params.insert(param.clone());
        }
        visit::visit_path(self, path);
    }

    // Skip macros, because a macro's tokens do not show which type parameters the resulting type
    // uses.
    fn visit_macro(&mut self, _: &'ast syn::Macro) {}
}
