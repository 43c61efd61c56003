//! Payload codecs.
mod access;
mod compound;
mod cursor;
mod decoder;
mod deserializer;
mod error;
mod format;
mod serializer;
mod shapes;
mod writer;

pub use decoder::Decoder;
pub use error::{DecodeError, DictionaryProblem, EncodeError, UpcastError};
pub use shapes::Shapes;
pub use writer::ShapeWriter;
