//! Determines properties of a type from its tokens. Macros cannot resolve the names in a type.

use quote::ToTokens as _;
use syn::{
    GenericArgument, Lifetime, PathArguments, Type, parse_quote,
    visit::{self, Visit},
    visit_mut::{self, VisitMut},
};

/// Returns the type arguments of a path whose last segment is `name`.
pub(crate) fn type_arguments<'a>(ty: &'a Type, name: &str) -> Option<Vec<&'a Type>> {
    let Type::Path(path) = ty else { return None };
    let segment = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return Some(Vec::new());
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(unwrap_groups(ty)),
        _ => None,
    });
    Some(types.collect())
}

/// Returns the last segment of a type's path.
pub(crate) fn last_name(ty: &Type) -> Option<String> {
    let Type::Path(path) = ty else { return None };
    Some(path.path.segments.last()?.ident.to_string())
}

/// Strips parentheses and the invisible groups that `macro_rules!` leaves around a type.
pub(crate) fn unwrap_groups(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => unwrap_groups(&group.elem),
        Type::Paren(paren) => unwrap_groups(&paren.elem),
        ty => ty,
    }
}

/// Formats a type for error messages, with the same spacing as rustfmt.
pub(crate) fn spelled(ty: &Type) -> String {
    let tokens = ty.to_token_stream().to_string();
    let mut spelled = tokens;
    for (loose, tight) in [
        (" < ", "<"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" , ", ", "),
        (" :: ", "::"),
        (":: ", "::"),
        (" ::", "::"),
        ("& ", "&"),
        (" ,", ","),
    ] {
        spelled = spelled.replace(loose, tight);
    }
    spelled
}

/// Returns `true` if a type contains a lifetime other than `'static`.
pub(crate) fn borrows(ty: &Type) -> bool {
    struct Find(bool);
    impl<'ast> Visit<'ast> for Find {
        fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
            self.0 |= is_short(Some(lifetime));
        }

        fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
            self.0 |= reference.lifetime.is_none();
            visit::visit_type_reference(self, reference);
        }

        // The lifetimes in a function type are chosen by the function's caller, so the type itself
        // does not borrow anything.
        fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}
        fn visit_parenthesized_generic_arguments(
            &mut self,
            _: &'ast syn::ParenthesizedGenericArguments,
        ) {
        }
        fn visit_bound_lifetimes(&mut self, _: &'ast syn::BoundLifetimes) {}
    }
    let mut find = Find(false);
    find.visit_type(ty);
    find.0
}

/// Replaces every lifetime in a type with `'static`.
pub(crate) fn make_static(ty: &mut Type) {
    struct Lengthen;
    impl VisitMut for Lengthen {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            *lifetime = Lifetime::new("'static", lifetime.span());
        }

        fn visit_type_reference_mut(&mut self, reference: &mut syn::TypeReference) {
            reference.lifetime = Some(parse_quote!('static));
            visit_mut::visit_type_reference_mut(self, reference);
        }
    }
    Lengthen.visit_type_mut(ty);
}

pub(crate) fn is_short(lifetime: Option<&Lifetime>) -> bool {
    lifetime.is_none_or(|lifetime| lifetime.ident != "static")
}
