//! What `yield_!` and `yield_all!` become.
//!
//! Where the reader sees them, they are written out, so that what the compiler says of them points at the user's call.
//! Inside the user's own macros, which it cannot see into, two `macro_rules` say the same.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::{Expr, ExprAwait, ExprTry, parse::ParseStream};

use crate::{
    endpoint::returns::Form,
    support::runtime_path::{Runtime, internal_span, yielder},
};

/// The two macros, by their names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Yield {
    One,
    All,
}

pub(crate) const YIELD: &str = "yield_";
pub(crate) const YIELD_ALL: &str = "yield_all";

impl Yield {
    pub(crate) fn named(name: &Ident) -> Option<Self> {
        match name.to_string().as_str() {
            YIELD => Some(Self::One),
            YIELD_ALL => Some(Self::All),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => YIELD,
            Self::All => YIELD_ALL,
        }
    }

    /// The block that hands over `operand`, a value or a stream in parentheses, for a call at `at`; of a value that may be
    /// of any type, it says that it is the item.
    pub(crate) fn write(
        self,
        operand: &Group,
        is_open: bool,
        form: Form,
        runtime: &Runtime,
        at: Span,
    ) -> TokenStream {
        let stream = yielder(at);
        let private = runtime.internals();
        let push = Ident::new(
            if is_open { "push_item" } else { "push" },
            internal_span(at),
        );
        let try_all = |exit: TokenStream| {
            quote_spanned! {internal_span(at)=> {
                use #private::ItemByItem as _;
                if let ::core::result::Result::Err(error) = #stream.try_part #operand.push_all().await {
                    return ::core::result::Result::Err(#exit);
                }
            }}
        };
        match (self, form) {
            // Two statements: what the value borrowed is given back before the generator waits.
            (Self::One, _) => quote_spanned!(internal_span(at)=> {
                #stream.#push #operand;
                #stream.flushed().await;
            }),
            (Self::All, Form::Stream | Form::Response) => quote_spanned!(internal_span(at)=> {
                use #private::ItemByItem as _;
                let ::core::result::Result::Ok(()) = #stream.part #operand.push_all().await;
            }),
            (Self::All, Form::TryStream) => try_all(quote_spanned!(internal_span(at)=> error)),
            (Self::All, Form::TryResponse) => {
                try_all(quote_spanned!(internal_span(at)=> #private::Exit::Stream(error)))
            }
        }
    }
}

/// The macros for the places that the reader does not see.
pub(crate) fn macros(form: Form, runtime: &Runtime) -> TokenStream {
    let define = |call: Yield| {
        // Found by the user's own call, so it has a name that anybody can say.
        let name = format_ident!("{}", call.name());
        let operand = Group::new(Delimiter::Parenthesis, quote!($($operand)*));
        let body = call.write(&operand, false, form, runtime, Span::call_site());
        quote! {
            #[allow(unused_macros)]
            macro_rules! #name { ($($operand:tt)*) => { #body } }
        }
    };
    let (one, all) = (define(Yield::One), define(Yield::All));
    quote!(#one #all)
}

/// What stands in the parentheses of `yield_!`.
pub(crate) enum Operand {
    None,
    One(Expr),
    /// With something behind it.
    More(Expr),
}

pub(crate) fn operand(input: ParseStream<'_>) -> syn::Result<Operand> {
    if input.is_empty() {
        return Ok(Operand::None);
    }
    let operand = input.parse()?;
    input.parse::<Option<syn::Token![,]>>()?;
    if input.is_empty() {
        return Ok(Operand::One(operand));
    }
    input.parse::<TokenStream>()?;
    Ok(Operand::More(operand))
}

pub(crate) fn arity(call: Yield) -> &'static str {
    match call {
        Yield::One => "`yield_!` takes one value; wrap several in a tuple or a struct",
        Yield::All => "`yield_all!` takes one stream",
    }
}

/// Whether what is yielded is of any type that is asked for, as far as it tells: `x.into()`. Then it is the item, and none
/// of the other types that `yield_!` takes.
pub(crate) fn leaves_its_type_open(operand: &Expr) -> bool {
    const OPEN: [&str; 6] = ["collect", "into", "parse", "product", "sum", "try_into"];
    const UNPACK: [&str; 9] = [
        "context",
        "expect",
        "map_err",
        "ok_or",
        "ok_or_else",
        "ok",
        "unwrap",
        "unwrap_or",
        "unwrap_or_default",
    ];
    match operand {
        Expr::MethodCall(call) if call.turbofish.is_none() => {
            let has_name = |names: &[&str]| names.iter().any(|name| call.method == name);
            has_name(&OPEN) || (has_name(&UNPACK) && leaves_its_type_open(&call.receiver))
        }
        Expr::Call(call) => match &*call.func {
            Expr::Path(path) => path.path.to_token_stream().to_string() == "Default :: default",
            _ => false,
        },
        Expr::Try(ExprTry { expr, .. }) => leaves_its_type_open(expr),
        Expr::Await(ExprAwait { base, .. }) => leaves_its_type_open(base),
        Expr::Paren(paren) => leaves_its_type_open(&paren.expr),
        Expr::Group(group) => leaves_its_type_open(&group.expr),
        _ => false,
    }
}
