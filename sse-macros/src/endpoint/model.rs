//! The model contains everything that the attribute, the signature and the body declare.

use syn::{FnArg, ItemFn, Type};

use super::{
    args::Args,
    body::{self, Body},
    function::{Function, Statements, refuse_argument_attributes, refuse_second_attributes},
    lints::Findings,
    returns::{Returns, returns},
};
use crate::support::{errors::Errors, runtime_path::Runtime};

pub(crate) struct Endpoint {
    pub(crate) args: Args,
    pub(crate) runtime: Runtime,
    /// The function, with an empty body.
    pub(crate) function: ItemFn,
    /// `None` if the return type is not supported. In that case, the error has already been
    /// reported.
    pub(crate) returns: Option<Returns>,
    pub(crate) body: Body,
    pub(crate) findings: Findings,
}

impl Endpoint {
    pub(crate) fn new(args: Args, function: Function, errors: &mut Errors) -> Self {
        let Function {
            mut function,
            statements,
        } = function;
        refuse_second_attributes(&mut function, errors);
        refuse_argument_attributes(&mut function, errors);
        let returns = returns(&function, errors);
        let form = returns.as_ref().map(Returns::form);
        // A body that does not parse is not linted.
        let findings = match &statements {
            Statements::Read(statements) => Findings::of(statements),
            Statements::Unread(_) => Findings::default(),
        };
        let runtime = Runtime::new(args.runtime.get());
        let body = match statements {
            Statements::Read(statements) => {
                body::read(statements, form, &runtime, &function.sig.ident, errors)
            }
            Statements::Unread(tokens) => Body::unread(tokens),
        };
        Self {
            args,
            runtime,
            function,
            returns,
            body,
            findings,
        }
    }

    /// Returns the argument types. Every argument is an extractor.
    pub(crate) fn extractors(&self) -> impl Iterator<Item = &Type> {
        self.function.sig.inputs.iter().filter_map(|arg| match arg {
            FnArg::Typed(arg) => Some(&*arg.ty),
            FnArg::Receiver(_) => None,
        })
    }
}
