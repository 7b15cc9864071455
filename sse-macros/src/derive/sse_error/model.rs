//! The model contains everything that the type and its attributes declare.

use proc_macro2::{Ident, Span, TokenStream};
use syn::{Attribute, Data, DeriveInput, ExprPath, Field, Fields, LitInt, LitStr, Member, Type};

use crate::{
    derive::{
        case::Case,
        serde_attribute,
        sse_attribute::{self, Entry, Target},
    },
    support::{
        docs::docs,
        errors::Errors,
        runtime_path::{Runtime, runtime_path},
    },
};

const ON_ENUM: Target = Target {
    name: "an enum",
    keys: &[
        ("status", "status = 500"),
        ("rename_all", "rename_all = \"kebab-case\""),
        ("crate", "crate = ::sse_runtime"),
    ],
};

const ON_STRUCT: Target = Target {
    name: "a struct",
    keys: &[
        ("status", "status = 429"),
        ("title", "title = \"Too many questions\""),
        ("detail", "detail = \"One at a time, please\""),
        ("type", "type = \"https://example.com/problems/too-many\""),
        ("code", "code = \"too_many\""),
        ("stop", "stop"),
        ("crate", "crate = ::sse_runtime"),
    ],
};

const ON_VARIANT: Target = Target {
    name: "a variant",
    keys: &[
        ("status", "status = 429"),
        ("title", "title = \"Too many questions\""),
        ("detail", "detail = \"One at a time, please\""),
        ("type", "type = \"https://example.com/problems/too-many\""),
        ("code", "code = \"too_many\""),
        ("stop", "stop"),
        ("transparent", "transparent"),
    ],
};

const ON_FIELD: Target = Target {
    name: "a field",
    keys: &[("retry_after", "retry_after")],
};

const TARGETS: [Target; 4] = [ON_VARIANT, ON_STRUCT, ON_ENUM, ON_FIELD];

/// The default status. An error that does not declare a status is assumed to be the server's fault,
/// not the client's.
const DEFAULT_STATUS: u16 = 500;

pub(crate) struct Model {
    pub(crate) input: DeriveInput,
    pub(crate) runtime: Runtime,
    /// An enum has one problem per variant. A struct has a single problem.
    pub(crate) problems: Vec<Problem>,
}

/// The response for a variant or a struct.
pub(crate) struct Problem {
    /// `None` for a struct.
    pub(crate) variant: Option<Ident>,
    /// The doc comment of the variant or the struct.
    pub(crate) docs: String,
    pub(crate) status: u16,
    pub(crate) kind: Option<LitStr>,
    pub(crate) title: Option<LitStr>,
    pub(crate) detail: Option<LitStr>,
    pub(crate) code: String,
    /// Whether clients must not reconnect after this error.
    pub(crate) stop: bool,
    /// `Some` if the variant is transparent.
    pub(crate) transparent: Option<Transparent>,
    /// The fields sent to the client.
    pub(crate) fields: Vec<ShownField>,
    pub(crate) retry_after: Option<RetryAfter>,
}

/// The only field of a transparent variant. The error in this field determines the whole response.
pub(crate) struct Transparent {
    pub(crate) member: Member,
    pub(crate) ty: Type,
}

/// A field that is sent to the client if its type implements `Serialize`.
pub(crate) struct ShownField {
    pub(crate) member: Member,
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) skip_if: Option<ExprPath>,
}

/// The field that contains the retry delay.
pub(crate) struct RetryAfter {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    /// `None` if the delay is sent only as a header.
    pub(crate) name: Option<String>,
}

/// The `#[sse(…)]` keys on a type or variant.
#[derive(Default)]
struct Attrs {
    status: Option<u16>,
    title: Option<LitStr>,
    detail: Option<LitStr>,
    transparent: Option<Span>,
    stop: Option<Span>,
    kind: Option<LitStr>,
    code: Option<LitStr>,
    case: Case,
    runtime: Option<syn::Path>,
}

impl Model {
    pub(crate) fn new(input: DeriveInput, errors: &mut Errors) -> Self {
        let (attrs, problems) = match &input.data {
            Data::Enum(data) => {
                let attrs = read_attrs(&input.attrs, &ON_ENUM, errors);
                let variants = data.variants.iter().map(|variant| {
                    let of_variant = read_attrs(&variant.attrs, &ON_VARIANT, errors);
                    let of_variant = Attrs {
                        status: of_variant.status.or(attrs.status),
                        case: attrs.case,
                        ..of_variant
                    };
                    let name = &variant.ident;
                    let docs = docs(&variant.attrs);
                    problem(Some(name), name, docs, &of_variant, &variant.fields, errors)
                });
                let variants = variants.collect();
                (attrs, variants)
            }
            Data::Struct(data) => {
                let attrs = read_attrs(&input.attrs, &ON_STRUCT, errors);
                let docs = docs(&input.attrs);
                let problem = problem(None, &input.ident, docs, &attrs, &data.fields, errors);
                (attrs, vec![problem])
            }
            Data::Union(data) => {
                errors.at(
                    data.union_token,
                    "`SseError` cannot be derived for a union; use an enum or a struct",
                );
                (Attrs::default(), Vec::new())
            }
        };
        Self {
            runtime: Runtime::new(attrs.runtime.as_ref()),
            input,
            problems,
        }
    }
}

fn read_attrs(attributes: &[Attribute], target: &Target, errors: &mut Errors) -> Attrs {
    let mut attrs = Attrs::default();
    if let Some(serde) = serde_attribute::first(attributes) {
        errors.at(
            serde,
            "serde attributes are allowed only on an error's fields\n\
             help: to change the code, use `#[sse(code = \"…\")]`, or `#[sse(rename_all = \"…\")]` on the enum",
        );
    }
    for entry in sse_attribute::entries(attributes, target, &TARGETS, errors) {
        let example = target.keys.iter().find(|(key, _)| entry.key == key);
        let example = example.map_or("", |(_, example)| *example);
        let read = match entry.key.to_string().as_str() {
            "status" => status(&entry, example).map(|status| attrs.status = Some(status)),
            "title" => entry.text(example).map(|text| attrs.title = Some(text)),
            "detail" => entry.text(example).map(|text| attrs.detail = Some(text)),
            "transparent" => entry.flag().map(|span| attrs.transparent = Some(span)),
            "stop" => entry.flag().map(|span| attrs.stop = Some(span)),
            "type" => entry.text(example).map(|text| attrs.kind = Some(text)),
            "code" => entry.text(example).map(|text| attrs.code = Some(text)),
            "rename_all" => entry
                .text(example)
                .and_then(|rule| Case::parse(&rule))
                .map(|case| attrs.case = case),
            _ => entry
                .value(example)
                .and_then(runtime_path)
                .map(|path| attrs.runtime = Some(path)),
        };
        if let Err(error) = read {
            errors.push(error);
        }
    }
    attrs
}

fn status(entry: &Entry, example: &str) -> syn::Result<u16> {
    let value: TokenStream = entry.value(example)?;
    let status = syn::parse2::<LitInt>(value.clone()).and_then(|status| status.base10_parse());
    match status {
        Ok(status @ 400..=599) => Ok(status),
        _ => Err(syn::Error::new_spanned(
            value,
            format_args!("expected a status code from 400 to 599, such as `{example}`"),
        )),
    }
}

fn problem(
    variant: Option<&Ident>,
    name: &Ident,
    docs: String,
    attrs: &Attrs,
    fields: &Fields,
    errors: &mut Errors,
) -> Problem {
    if let (Some(span), Some(_)) = (attrs.stop, attrs.transparent) {
        errors.at_span(
            span,
            "`stop` has no effect on a transparent variant; set it on the wrapped error",
        );
    }
    let mut problem = Problem {
        variant: variant.cloned(),
        docs,
        status: attrs.status.unwrap_or(DEFAULT_STATUS),
        kind: attrs.kind.clone(),
        title: attrs.title.clone(),
        detail: attrs.detail.clone(),
        stop: attrs.stop.is_some(),
        transparent: attrs
            .transparent
            .and_then(|span| transparent(span, fields, errors)),
        code: match &attrs.code {
            Some(code) => code.value(),
            None => attrs.case.apply(name.to_string().trim_start_matches("r#")),
        },
        fields: Vec::new(),
        retry_after: None,
    };
    for (member, field) in fields.members().zip(fields) {
        problem.read_field(&member, field, errors);
    }
    problem
}

fn transparent(span: Span, fields: &Fields, errors: &mut Errors) -> Option<Transparent> {
    let mut members = fields.members().zip(fields);
    match (members.next(), members.next()) {
        (Some((member, field)), None) => Some(Transparent {
            member,
            ty: field.ty.clone(),
        }),
        _ => {
            errors.at_span(
                span,
                "`transparent` requires a variant whose only field is an error, such as `Auth(AuthError)`",
            );
            None
        }
    }
}

impl Problem {
    fn read_field(&mut self, member: &Member, field: &Field, errors: &mut Errors) {
        let name = shown_name(field, errors);
        let mut is_retry_after = false;
        for entry in sse_attribute::entries(&field.attrs, &ON_FIELD, &TARGETS, errors) {
            match entry.flag() {
                Err(error) => errors.push(error),
                Ok(span) if self.retry_after.is_some() => errors.at_span(
                    span,
                    "duplicate `retry_after`; only one field can set the `Retry-After` header",
                ),
                Ok(_) => {
                    is_retry_after = true;
                    self.retry_after = Some(RetryAfter {
                        member: member.clone(),
                        ty: field.ty.clone(),
                        name: name.clone(),
                    });
                }
            }
        }
        let taken = self.fields.iter().map(|field| &field.name);
        let others = self.retry_after.as_ref().filter(|_| !is_retry_after);
        let mut taken = taken.chain(others.and_then(|after| after.name.as_ref()));
        if let Some(name) = &name
            && taken.any(|other| other == name)
        {
            errors.at(
                field.ident.as_ref(),
                format_args!("another field is already sent as `{name}`; rename this field"),
            );
        }
        if let Some(name) = name.filter(|_| !is_retry_after) {
            self.fields.push(ShownField {
                member: member.clone(),
                name,
                ty: field.ty.clone(),
                skip_if: skip_if(field, errors),
            });
        }
    }
}

/// Returns the name under which a field is sent, or `None` if the client does not receive the
/// field.
fn shown_name(field: &Field, errors: &mut Errors) -> Option<String> {
    // A tuple field has no name, so it cannot be sent.
    let ident = field.ident.as_ref()?;
    if is_internal(field) || serde_attribute::skips_serializing(&field.attrs) {
        return None;
    }
    if let Some(unread) = serde_attribute::unread(&field.attrs) {
        errors.at(
            unread,
            "unsupported serde attribute on an error's field\n\
             help: use `rename`, `skip`, `skip_serializing` or `skip_serializing_if`; for another format, implement \
             `Serialize` for the field's type",
        );
    }
    let name = match serde_attribute::for_serializing(&field.attrs, "rename") {
        Some(name) => name.value(),
        None => ident.to_string().trim_start_matches("r#").to_owned(),
    };
    if name == "status" {
        errors.at(
            ident,
            "the response already has a `status` member, which `#[sse(status = …)]` sets; rename this field",
        );
    }
    Some(name)
}

/// Returns `true` if thiserror treats a field as the error's source or backtrace. Such fields are
/// only logged.
fn is_internal(field: &Field) -> bool {
    let is_named = field
        .ident
        .as_ref()
        .is_some_and(|name| name == "source" || name == "backtrace");
    let is_marked = field.attrs.iter().any(|attribute| {
        ["from", "source", "backtrace"]
            .iter()
            .any(|mark| attribute.path().is_ident(mark))
    });
    is_named || is_marked
}

fn skip_if(field: &Field, errors: &mut Errors) -> Option<ExprPath> {
    let text = serde_attribute::for_serializing(&field.attrs, "skip_serializing_if")?;
    match text.parse() {
        Ok(path) => Some(path),
        Err(_) => {
            errors.at(
                text,
                "expected a function path, such as `\"Option::is_none\"`",
            );
            None
        }
    }
}
