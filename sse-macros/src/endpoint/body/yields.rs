//! The `yield_!` and `yield_all!` macros.
//!
//! The attribute rewrites the calls that it can see, so that the compiler's diagnostics point at
//! these calls. The attribute cannot see calls inside the user's own macros. For such calls, the
//! expansion defines two `macro_rules!` that expand to the same code.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::{Expr, ExprAwait, ExprTry, parse::ParseStream};

use crate::{
    endpoint::returns::Form,
    support::runtime_path::{Runtime, internal_span, yielder},
};

/// The two macros.
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

    /// Generates the block that replaces the call at `at`. `operand` is the value or stream,
    /// including its parentheses. If `is_open` is `true`, the value's type must be inferred, so the
    /// value must have the stream's item type.
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
                use #private::PushAll as _;
                if let ::core::result::Result::Err(error) = #stream.try_part #operand.push_all().await {
                    return ::core::result::Result::Err(#exit);
                }
            }}
        };
        match (self, form) {
            // Evaluate the operand in its own statement, so that the operand's borrows end before
            // the generator waits.
            (Self::One, _) => quote_spanned!(internal_span(at)=> {
                #stream.#push #operand;
                #stream.flushed().await;
            }),
            (Self::All, Form::Stream | Form::Response) => quote_spanned!(internal_span(at)=> {
                use #private::PushAll as _;
                let ::core::result::Result::Ok(()) = #stream.part #operand.push_all().await;
            }),
            (Self::All, Form::TryStream) => try_all(quote_spanned!(internal_span(at)=> error)),
            (Self::All, Form::TryResponse) => {
                try_all(quote_spanned!(internal_span(at)=> #private::Exit::Stream(error)))
            }
        }
    }
}

/// Generates the macro definitions for calls that the attribute cannot see.
pub(crate) fn macros(form: Form, runtime: &Runtime) -> TokenStream {
    let define = |call: Yield| {
        // The name is unhygienic so that the user's code can refer to the macro.
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

/// The operand of `yield_!`.
pub(crate) enum Operand {
    None,
    One(Expr),
    /// An expression followed by more tokens.
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
        Yield::One => "`yield_!` takes one value; wrap several values in a tuple or a struct",
        Yield::All => "`yield_all!` takes one stream",
    }
}

/// Returns `true` if an operand's type must be inferred, as in `x.into()`. For the inference to
/// succeed, such an operand must have the stream's item type, not one of the other types that
/// `yield_!` accepts.
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
