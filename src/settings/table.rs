//! The macros that make a type, its strict reader and its reference out of one list of keys, so
//! that no key is accepted that is not documented, and the other way round.

/// A key as the reference shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name in the file.
    pub name: String,
    /// What it is for.
    pub docs: String,
    /// What it takes.
    pub kind: String,
    /// What it is when it is left out; `None`: it must be there.
    pub default: Option<String>,
    /// How a value is written; empty for tables, which have a section of their own.
    pub example: &'static str,
}

/// What has keys.
pub trait Keys {
    /// Its keys, in the order of the reference.
    fn keys() -> Vec<Key>;
}

/// The key that a field is written as.
pub(super) fn kebab(field: &str) -> String {
    field.replace('_', "-")
}

/// Doc comments as one text.
pub(super) fn joined(docs: &[&str]) -> String {
    docs.iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A value as TOML writes it.
pub(super) fn shown<T: serde::Serialize>(value: &T) -> String {
    match toml::Value::try_from(value) {
        Ok(toml::Value::Table(table)) => {
            let pairs: Vec<String> = table.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            format!("{{ {} }}", pairs.join(", ")).replace("{  }", "{}")
        }
        Ok(value) => value.to_string(),
        Err(_) => String::new(), // `None`: TOML has no word for it
    }
}

/// `struct NAME { field: Type = DEFAULT, example "…"; … }`; DEFAULT is `required`, `(expression)`
/// or `(expression) "as the reference says it"`.
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        pub struct $type:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $kind:ty = $default:tt $($said:literal)?, example $example:literal; )*
        }
        later [$($later:literal),*]
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub struct $type {
            $( $(#[doc = $doc])+ pub $field: $kind, )*
        }

        impl $crate::settings::Keys for $type {
            fn keys() -> Vec<$crate::settings::Key> {
                vec![$( $crate::settings::table::key!(
                    [$($doc),+] $field: $kind = $default $($said)?, $example
                ), )*]
            }
        }

        impl $crate::settings::read::Read for $type {
            fn kind() -> String {
                "table".into()
            }
            fn read(
                node: &$crate::settings::node::Node,
                reader: &mut $crate::settings::read::Reader,
            ) -> Option<Self> {
                let $crate::settings::node::Value::Table(table) = &node.value else {
                    reader.mismatch(node, "a table");
                    return None;
                };
                let known = [$($crate::settings::table::kebab(stringify!($field))),*];
                reader.unknown_keys(table, &known, &[$($later),*]);
                $( let $field = $crate::settings::table::field!(reader, table, node, $field, $default); )*
                Some(Self { $($field: $field?,)* })
            }
        }
    };
}

/// `enum NAME by "KEY" { Variant "word" { fields as in a table }, … }`
macro_rules! tagged {
    (
        $(#[doc = $about:literal])+
        pub enum $type:ident by $tag:literal {
            $(
                $(#[doc = $of:literal])+
                $variant:ident $word:literal {
                    $( $(#[doc = $doc:literal])+ $field:ident: $kind:ty = $default:tt $($said:literal)?, example $example:literal; )*
                }
                later [$($later:literal),*]
            )*
        }
        later [$($later_word:literal),*]
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[serde(tag = $tag, rename_all = "kebab-case", rename_all_fields = "kebab-case")]
        pub enum $type {
            $( $(#[doc = $of])+ $variant { $( $(#[doc = $doc])+ $field: $kind, )* }, )*
        }

        impl $type {
            /// The words that choose a variant, what each is, and its keys.
            pub fn variants() -> Vec<(&'static str, String, Vec<$crate::settings::Key>)> {
                vec![$( (
                    $word,
                    $crate::settings::table::joined(&[$($of),+]),
                    vec![$( $crate::settings::table::key!(
                        [$($doc),+] $field: $kind = $default $($said)?, $example
                    ), )*],
                ), )*]
            }
        }

        impl $crate::settings::read::Read for $type {
            fn kind() -> String {
                "table".into()
            }
            fn read(
                node: &$crate::settings::node::Node,
                reader: &mut $crate::settings::read::Reader,
            ) -> Option<Self> {
                #[derive(Clone, Copy)]
                enum Word { $($variant),* }
                const WORDS: &[(&str, Word)] = &[$(($word, Word::$variant)),*];
                let $crate::settings::node::Value::Table(table) = &node.value else {
                    reader.mismatch(node, "a table");
                    return None;
                };
                let word = reader.tag(table, node.at, $tag, WORDS, &[$($later_word),*])?;
                match word {
                    $( Word::$variant => {
                        let known = [
                            $tag.to_owned(),
                            $($crate::settings::table::kebab(stringify!($field))),*
                        ];
                        reader.unknown_keys(table, &known, &[$($later),*]);
                        $( let $field = $crate::settings::table::field!(reader, table, node, $field, $default); )*
                        Some(Self::$variant { $($field: $field?,)* })
                    } )*
                }
            }
        }
    };
}

/// `enum NAME { Variant "word", … }`, the first being the default.
macro_rules! words {
    (
        $(#[doc = $about:literal])+
        pub enum $type:ident {
            $(#[doc = $first_doc:literal])+
            $first:ident $first_word:literal,
            $( $(#[doc = $doc:literal])+ $variant:ident $word:literal, )*
        }
        later [$($later:literal),*]
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $type {
            $(#[doc = $first_doc])+
            #[default]
            $first,
            $( $(#[doc = $doc])+ $variant, )*
        }

        impl $crate::settings::read::Read for $type {
            fn kind() -> String {
                let words = [
                    ($first_word, [$($first_doc),+].as_slice()),
                    $(($word, [$($doc),+].as_slice())),*
                ];
                words
                    .map(|(word, docs)| {
                        let docs = $crate::settings::table::joined(docs);
                        format!("`{word:?}` ({})", docs.trim_end_matches('.').to_lowercase())
                    })
                    .join(", ")
            }
            fn read(
                node: &$crate::settings::node::Node,
                reader: &mut $crate::settings::read::Reader,
            ) -> Option<Self> {
                let words = [($first_word, Self::$first), $(($word, Self::$variant)),*];
                reader.word(node, &words, &[$($later),*])
            }
        }
    };
}

/// `Default` for tables of which no key is required: every key left out.
macro_rules! defaults {
    ($($type:ident),*) => { $(
        impl Default for $type {
            fn default() -> Self {
                let nothing = $crate::settings::node::Node {
                    at: $crate::settings::node::Span { file: 0, start: 0, end: 0 },
                    value: $crate::settings::node::Value::Table(std::collections::BTreeMap::new()),
                };
                <Self as $crate::settings::read::Read>::read(&nothing, &mut Default::default())
                    .expect("no key of it is required")
            }
        }
    )* };
}

/// Reads one field.
macro_rules! field {
    ($reader:ident, $table:ident, $node:ident, $field:ident, required) => {
        $reader.required(
            $table,
            $node.at,
            &$crate::settings::table::kebab(stringify!($field)),
        )
    };
    ($reader:ident, $table:ident, $node:ident, $field:ident, ($default:expr)) => {
        $reader.optional(
            $table,
            &$crate::settings::table::kebab(stringify!($field)),
            $default,
        )
    };
}

/// Describes one field.
macro_rules! key {
    (@default required, $kind:ty) => { None };
    (@default ($default:expr), $kind:ty) => {{
        let default: $kind = $default;
        Some($crate::settings::table::shown(&default))
    }};
    (@default ($default:expr) $said:literal, $kind:ty) => { Some($said.to_owned()) };
    ([$($doc:literal),+] $field:ident: $kind:ty = $default:tt $($said:literal)?, $example:literal) => {
        $crate::settings::Key {
            name: $crate::settings::table::kebab(stringify!($field)),
            docs: $crate::settings::table::joined(&[$($doc),+]),
            kind: <$kind as $crate::settings::read::Read>::kind(),
            default: $crate::settings::table::key!(@default $default $($said)?, $kind),
            example: $example,
        }
    };
}

pub(super) use {defaults, field, key, table, tagged, words};
