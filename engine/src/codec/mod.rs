//! Payloads: how events, snapshots and table rows become bytes, and how bytes written by older
//! programs become today's types.
//!
//! Place: aggregates, projections, tables -> **`codec`** -> payload bytes of `log` and `state`. It
//! stores nothing and knows no frame beyond the [`Kind`](crate::log::frame::Kind) of a record.
//!
//! | to | use |
//! |---|---|
//! | write the events of a frame | [`EventEncoder`], one per partition |
//! | read the events of a frame | [`EventReader`], one per reader and event type |
//! | bring old events to the present | [`Event::upcasters`], steps over a [`Value`] |
//! | write and read one value alone | [`to_vec`], [`from_slice`]; [`StandaloneWriter`], [`StandaloneReader`] |
//! | show a payload without its program | [`payload_to_json`]; [`ValueReader`] for many |
//! | write and read anything else | [`ShapeWriter`], [`Decoder`] |
//!
//! What may change without a new version, because values are read by name: a field added with a serde
//! default, a field removed, fields and variants in another order, variants added, `T` become
//! `Option<T>`, a number become wider, a newtype put around a value. Everything else (a field or variant
//! renamed or with another meaning, a variant removed) takes a new [`Event::VERSION`] and an upcaster;
//! serde's `alias` will do for a plain renaming. A JSON payload follows `serde_json` instead, which is
//! stricter in one thing: a variant written without fields cannot be read as one that has some.
//!
//! Invariants: (1) what this version wrote, every later version reads; (2) a failed write leaves its
//! output as it was, a failed read leaves the reader usable; (3) no bytes, however hostile, make a
//! reader panic, recurse past 128 levels or allocate more than a fixed multiple of their length.
//! Threads: writers and readers have one owner each; [`Shapes`] and [`Upcasters`] are shared freely.
//! Cost: see `benches/codec.rs`. The bytes themselves are described in `format.rs`.

mod access;
mod compound;
mod cursor;
mod decoder;
mod deserializer;
mod error;
mod event;
mod format;
mod reader;
mod serializer;
mod shapes;
mod standalone;
mod type_name;
mod upcast;
mod value;
mod writer;

pub use decoder::Decoder;
pub use error::{DecodeError, DictionaryProblem, EncodeError, UpcastError};
pub use event::{Event, EventEncoder};
pub use reader::EventReader;
pub use shapes::Shapes;
pub use standalone::{StandaloneReader, StandaloneWriter, from_slice, to_vec};
pub use upcast::Upcasters;
pub use value::{Fields, Record, Value, ValueReader, payload_to_json};
pub use writer::ShapeWriter;
