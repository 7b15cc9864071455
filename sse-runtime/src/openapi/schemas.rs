//! [`Schemas`]: the JSON schemas of a description, and the names under which they are shared.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::event::contract::SchemaOf;

/// The path of named schemas in the finished document.
const FINISHED: &str = "#/components/schemas/";

/// The paths at which schemars defines the schemas of values that the server sends and of values
/// that it reads. [`Schemas::finish`] moves all of them to their final path.
const SENT: &str = "/components/sent";
const READ: &str = "/components/read";

/// The keywords that contain values rather than schemas.
const VALUES: [&str; 4] = ["const", "default", "enum", "examples"];

/// The keywords that contain schemas by name. The names can be those of other keywords.
const MAPS: [&str; 3] = ["properties", "patternProperties", "schemas"];

/// Collects the schemas of types. A type can have one schema for the values that the server sends
/// and another one for the values that it reads.
pub(super) struct Schemas {
    sent: SchemaGenerator,
    read: SchemaGenerator,
}

/// Whether the server sends or reads the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Sent,
    Read,
}

/// The named schemas of a finished description.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) schemas: BTreeMap<String, Value>,
    /// The new name of each schema that schemars has defined.
    names: BTreeMap<(Side, String), String>,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = |path: &'static str| {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = path.into();
                settings.meta_schema = None;
            })
        };
        Self {
            sent: settings(SENT).for_serialize().into_generator(),
            read: settings(READ).for_deserialize().into_generator(),
        }
    }

    /// Returns the schema of values that the server sends. A type with a name becomes a reference.
    pub(super) fn sent(&mut self, schema: SchemaOf) -> Value {
        value((schema.reference)(&mut self.sent), &self.sent)
    }

    /// Returns the schema of values that the server sends, but never as a reference.
    pub(super) fn sent_inline(&mut self, schema: SchemaOf) -> Value {
        value((schema.inline)(&mut self.sent), &self.sent)
    }

    /// Returns the schema of values that the server reads. A type with a name becomes a reference.
    pub(super) fn read(&mut self, schema: SchemaOf) -> Value {
        value((schema.reference)(&mut self.read), &self.read)
    }

    /// Returns the schema of values that the server reads, but never as a reference. The schema of a
    /// newtype refers to that of its content, so this method follows references.
    pub(super) fn read_content(&mut self, schema: SchemaOf) -> Value {
        /// The maximum number of newtypes around each other. A newtype can contain itself.
        const DEEPEST: usize = 16;

        let mut content = self.read_inline(schema);
        for _ in 0..DEEPEST {
            let reference = content.get("$ref").and_then(Value::as_str);
            let definition = reference.and_then(|reference| {
                let name = reference.strip_prefix('#')?.strip_prefix(READ)?;
                self.read.definitions().get(name.strip_prefix('/')?)
            });
            let Some(definition) = definition else { break };
            content = definition.clone();
        }
        content
    }

    /// Returns the schema of values that the server reads, but never as a reference.
    fn read_inline(&mut self, schema: SchemaOf) -> Value {
        value((schema.inline)(&mut self.read), &self.read)
    }

    /// Moves all named schemas to the path that OpenAPI requires. If the schemas of a type differ
    /// between values that are sent and values that are read, the name of the latter schema ends
    /// with `Input`.
    pub(super) fn finish(mut self) -> Named {
        let sent = corrected(&self.sent.take_definitions(true));
        let read = corrected(&self.read.take_definitions(true));
        let differing = differing(&sent, &read);
        let mut named = Named::default();
        // The names must not depend on the order of the maps, which depends on the features of
        // `serde_json`. A type that itself is called `ThingInput` keeps its name.
        let sorted = |map: Map<String, Value>| map.into_iter().collect::<BTreeMap<_, _>>();
        for (name, schema) in sorted(sent) {
            named.define(Side::Sent, &name, "", schema);
        }
        let is_input = |(name, _): &(String, Value)| differing.contains(name);
        let (inputs, read): (Vec<_>, Vec<_>) = sorted(read).into_iter().partition(is_input);
        for (name, schema) in read {
            if let Some(same) = named.names.get(&(Side::Sent, name.clone())) {
                named.names.insert((Side::Read, name), same.clone());
            } else {
                named.define(Side::Read, &name, "", schema);
            }
        }
        for (name, schema) in inputs {
            named.define(Side::Read, &name, "Input", schema);
        }
        let mut schemas = std::mem::take(&mut named.schemas);
        for schema in schemas.values_mut() {
            named.update(schema);
        }
        Named { schemas, ..named }
    }
}

/// Returns the names of the schemas that differ between sent and read values. Two schemas also
/// differ if they refer to schemas that differ.
fn differing(sent: &Map<String, Value>, read: &Map<String, Value>) -> BTreeSet<String> {
    let mut differing = BTreeSet::new();
    loop {
        let differs = |name: &str, schema: &Value| {
            let mut schema = schema.clone();
            visit_references(&mut schema, &mut |reference| {
                if let Some((Side::Read, name)) = parse(reference)
                    && !differing.contains(&name)
                {
                    *reference = reference.replacen(READ, SENT, 1);
                }
            });
            sent.get(name).is_some_and(|sent| *sent != schema)
        };
        let read = read.iter().filter(|(name, schema)| differs(name, schema));
        let next: BTreeSet<String> = read.map(|(name, _)| name.clone()).collect();
        if next.len() == differing.len() {
            return differing;
        }
        differing = next;
    }
}

impl Named {
    fn define(&mut self, side: Side, name: &str, suffix: &str, schema: Value) {
        let new = self.free(&format!("{}{suffix}", component(name)));
        self.names.insert((side, name.to_owned()), new.clone());
        self.schemas.insert(new, schema);
    }

    /// Adds a schema that schemars has not defined, unless the same schema has already been added.
    /// Returns a reference to it.
    pub(super) fn insert(&mut self, name: &str, schema: Value) -> Value {
        let is_other = |name: &str| self.schemas.get(name).is_some_and(|other| *other != schema);
        let name = free(&component(name), is_other);
        let reference = json!({ "$ref": format!("{FINISHED}{name}") });
        self.schemas.insert(name, schema);
        reference
    }

    /// Returns a name that is not taken.
    fn free(&self, name: &str) -> String {
        free(name, |name| self.schemas.contains_key(name))
    }

    /// Updates the references in a schema that one of the methods of [`Schemas`] has returned.
    pub(super) fn update(&self, schema: &mut Value) {
        visit_references(schema, &mut |reference| {
            if let Some(name) = parse(reference).and_then(|key| self.names.get(&key)) {
                *reference = format!("{FINISHED}{name}");
            }
        });
    }
}

impl Named {
    /// Removes all schemas except those with the given names, and those to which they refer.
    pub(super) fn retain(&mut self, mut used: Vec<String>) {
        let mut kept = BTreeMap::new();
        while let Some(name) = used.pop() {
            if let Some((name, mut schema)) = self.schemas.remove_entry(&name) {
                used.extend(references(&mut schema));
                kept.insert(name, schema);
            }
        }
        self.schemas = kept;
    }
}

/// Returns the names of the schemas to which a schema in a finished document refers.
pub(super) fn references(schema: &mut Value) -> Vec<String> {
    let mut names = Vec::new();
    visit_references(schema, &mut |reference| {
        names.extend(name_of(reference).map(str::to_owned));
    });
    names
}

/// Returns whether a schema in a finished document refers to one of these schemas.
pub(super) fn refers_to(schema: &Value, names: &[&String]) -> bool {
    let mut refers = false;
    visit_references(&mut schema.clone(), &mut |reference| {
        refers |= names.iter().any(|name| name_of(reference) == Some(name));
    });
    refers
}

/// Appends a number to a name if the name is taken.
pub(super) fn free(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut free = name.to_owned();
    let mut number = 1;
    while is_taken(&free) {
        number += 1;
        free = format!("{name}{number}");
    }
    free
}

/// Updates the references to renamed schemas in a finished document.
pub(super) fn rename(document: &mut Value, renamed: &[(String, String)]) {
    visit_references(document, &mut |reference| {
        let to = renamed
            .iter()
            .find(|(from, _)| name_of(reference) == Some(from));
        if let Some((_, to)) = to {
            *reference = format!("{FINISHED}{to}");
        }
    });
}

/// Returns the name of the schema that a reference in a finished document refers to.
pub(super) fn name_of(reference: &str) -> Option<&str> {
    reference.strip_prefix(FINISHED)
}

/// Converts a name into one that is valid in OpenAPI.
///
/// Source: [OpenAPI 3.2, Components Object](https://spec.openapis.org/oas/v3.2.0.html#components-object).
pub(super) fn component(name: &str) -> String {
    let is_valid = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
    let valid = name
        .chars()
        .map(|char| if is_valid(char) { char } else { '_' });
    valid.collect()
}

fn value(schema: Schema, generator: &SchemaGenerator) -> Value {
    match schema.to_value() {
        // Some tools expect every schema to be an object.
        Value::Bool(true) => json!({}),
        mut value => {
            inline_open(&mut value, generator.definitions());
            value
        }
    }
}

fn corrected(definitions: &Map<String, Value>) -> Map<String, Value> {
    let mut corrected = definitions.clone();
    for schema in corrected.values_mut() {
        inline_open(schema, definitions);
    }
    corrected
}

/// Corrects the schema of a variant that is tagged internally and contains a struct with a flattened
/// map. schemars describes it as a reference to the struct, next to the property for the tag. Since
/// the struct's schema does not know this property, it would apply the schema of the map's values to
/// the tag.
fn inline_open(schema: &mut Value, definitions: &Map<String, Value>) {
    const OPEN: [&str; 2] = ["additionalProperties", "unevaluatedProperties"];
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(schemas) => {
            let schemas = schemas.iter_mut();
            return schemas.for_each(|schema| inline_open(schema, definitions));
        }
        _ => return,
    };
    let is_open = |definition: &Map<String, Value>| {
        OPEN.iter()
            .any(|keyword| definition.get(*keyword).is_some_and(Value::is_object))
    };
    if members.contains_key("properties")
        && let Some(Value::String(reference)) = members.get("$ref")
        && let Some((_, name)) = parse(reference)
        && let Some(definition) = definitions.get(&name).and_then(Value::as_object)
        && is_open(definition)
    {
        let tag = std::mem::replace(members, definition.clone());
        for (keyword, value) in tag {
            match (members.get_mut(&keyword), value) {
                (Some(Value::Object(ours)), Value::Object(tag)) => ours.extend(tag),
                (Some(Value::Array(ours)), Value::Array(tag)) => ours.extend(tag),
                (None, value) if keyword != "$ref" => {
                    members.insert(keyword, value);
                }
                _ => {}
            }
        }
    }
    for part in parts(members) {
        inline_open(part, definitions);
    }
}

/// Returns the parts of a schema that may be schemas or lists of schemas.
fn parts(schema: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    let keywords = schema.iter_mut();
    let keywords = keywords.filter(|(keyword, _)| !VALUES.contains(&keyword.as_str()));
    keywords.flat_map(|(keyword, part)| {
        if !MAPS.contains(&keyword.as_str()) {
            return vec![part];
        }
        let schemas = part.as_object_mut().into_iter();
        schemas.flat_map(Map::values_mut).collect()
    })
}

/// Parses a reference that schemars has generated. In it, the name is an escaped JSON pointer
/// (RFC 6901) with percent encoding.
fn parse(reference: &str) -> Option<(Side, String)> {
    let sides = [(Side::Sent, SENT), (Side::Read, READ)];
    sides.into_iter().find_map(|(side, path)| {
        let name = reference.strip_prefix('#')?.strip_prefix(path)?;
        let name = percent_decoded(name.strip_prefix('/')?);
        Some((side, name.replace("~1", "/").replace("~0", "~")))
    })
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let (b'%', Some(byte)) = (first, byte) {
            decoded.push(byte);
            rest = &after[2..];
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Calls `change` for every reference in a schema.
fn visit_references(schema: &mut Value, change: &mut impl FnMut(&mut String)) {
    match schema {
        Value::Object(schema) => {
            if let Some(Value::String(reference)) = schema.get_mut("$ref") {
                change(reference);
            }
            parts(schema).for_each(|part| visit_references(part, change));
        }
        Value::Array(schemas) => {
            for schema in schemas {
                visit_references(schema, change);
            }
        }
        _ => {}
    }
}
