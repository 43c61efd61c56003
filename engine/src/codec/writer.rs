//! Encodes values and collects the shapes they use.
//!
//! Place: events of a frame -> **`ShapeWriter`** -> payload bytes and one dictionary per frame.
//! Invariants: (1) shape numbers are dense and given in order of first use within a frame; (2) a value
//! that was encoded can be read with the dictionary taken at any later time before `clear`.
//! Cost: a shape is found by the *address* of its type's and variant's names in a small fixed
//! table, and its fields are checked by address as they arrive, so no name is hashed or compared in the
//! common case. Addresses are only a shortcut: unknown ones are looked up by content.
//! Threads: one owner. Memory: the shapes of all types seen, forgotten past a limit at `clear`.

use hashbrown::HashMap;
use serde::Serialize;

use super::error::{EncodeError, Fault};
use super::format::{FIELDS_MAX, FORMAT_VERSION, Kind, NAME_BYTES_MAX, put_varint};
use super::serializer::Ser;

/// Slots of the table of heads: many more than the hot variants of most programs, 1 KiB.
const SLOTS: usize = 256;
/// Neighbouring slots a head may stand in.
const PROBES: usize = 4;
/// Shapes remembered across frames. Types are few, but fields that come and go multiply them.
const REMEMBERED_MAX: usize = 1_024;
/// Shapes of one head that are tried by address before looking one up by content.
const CANDIDATES_TRIED_MAX: usize = 32;

const NONE: u32 = u32::MAX;

/// What is known of a shape when its value starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    /// Empty for a struct.
    pub(super) variant: &'static str,
    /// Number of fields announced.
    pub(super) len: usize,
}

impl Head {
    fn is(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.len == other.len
            && same(self.variant, other.variant)
            && same(self.name, other.name)
    }

    #[inline]
    fn slot(&self) -> usize {
        let mixed =
            self.name.as_ptr().addr() ^ (self.variant.as_ptr().addr() << 3) ^ (self.len << 1);
        (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize) >> 48) % SLOTS
    }
}

/// Whether two names are the same piece of memory, hence equal. May say no of equal names.
#[inline]
pub(super) fn same(a: &str, b: &str) -> bool {
    std::ptr::eq(a, b)
}

/// All shapes that share a head; `last` is the one used most recently, the best guess for the next.
#[derive(Debug)]
struct Family {
    head: Head,
    last: u32,
    members: Vec<u32>,
}

/// A shape as one place in the program writes it.
#[derive(Debug)]
struct Known {
    fields: Box<[&'static str]>,
    content: u32,
}

/// A shape by content, and its number in the frame it was used in last.
#[derive(Debug)]
struct Content {
    shape: ShapeKey,
    frame: u64,
    id: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ShapeKey {
    kind: Kind,
    name: &'static str,
    variant: &'static str,
    count: usize,
    fields: Box<[&'static str]>,
}

/// Encodes the values of one frame at a time and collects the shapes they use.
///
/// ```
/// use millstream_engine::codec::{Decoder, ShapeWriter, Shapes};
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// enum Account {
///     Deposited { amount: u64, by: String },
/// }
///
/// let event = Account::Deposited { amount: 7, by: "Ada".into() };
/// let mut writer = ShapeWriter::new();
/// let (mut bytes, mut dictionary) = (Vec::new(), Vec::new());
/// assert_eq!(writer.encode(&event, &mut bytes)?, "Deposited");
/// writer.dictionary(&mut dictionary);
/// assert_eq!(bytes.len(), 6);
///
/// let shapes = Shapes::parse(&dictionary)?;
/// assert_eq!(Decoder::new().decode::<Account>(&shapes, &bytes)?, event);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShapeWriter {
    slots: [u32; SLOTS],
    families: Vec<Family>,
    known: Vec<Known>,
    contents: Vec<Content>,
    by_content: HashMap<ShapeKey, u32, foldhash::fast::RandomState>,
    /// Contents used in this frame, by number.
    used: Vec<u32>,
    /// Number of this frame, from 1.
    frame: u64,
    /// How often everything was forgotten.
    generation: u64,
}

impl Default for ShapeWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ShapeWriter {
    /// A writer with an empty dictionary.
    pub fn new() -> Self {
        Self {
            slots: [NONE; SLOTS],
            families: Vec::new(),
            known: Vec::new(),
            contents: Vec::new(),
            by_content: HashMap::default(),
            used: Vec::new(),
            frame: 1,
            generation: 0,
        }
    }

    /// Appends the bytes of `value` to `out` and returns its event type: the name of the variant if it
    /// is an enum, else of the struct, else `"value"`.
    ///
    /// An internally tagged enum is written as a struct, so the name is that of the struct. Cost: no
    /// allocation once the value's shapes have been seen, apart from the growth of `out`.
    ///
    /// # Errors
    /// [`EncodeError`]: `out` is as it was before.
    pub fn encode<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<&'static str, EncodeError> {
        let start = out.len();
        let mut serializer = Ser::new(self, out);
        match value.serialize(&mut serializer) {
            Ok(()) => Ok(serializer.event_type()),
            Err(Fault(error)) => {
                out.truncate(start);
                Err(*error)
            }
        }
    }

    /// Appends the dictionary of all shapes used since the last [`clear`](Self::clear) to `out`.
    pub fn dictionary(&self, out: &mut Vec<u8>) {
        out.push(FORMAT_VERSION);
        put_varint(out, self.used.len() as u64);
        for &content in &self.used {
            let shape = &self.contents[content as usize].shape;
            out.push(shape.kind as u8);
            put_name(out, shape.name);
            if shape.kind != Kind::Struct {
                put_name(out, shape.variant);
            }
            put_varint(out, shape.count as u64);
            for field in &shape.fields {
                put_name(out, field);
            }
        }
    }

    /// Starts the next frame with an empty dictionary. What was learned of the types is kept.
    pub fn clear(&mut self) {
        self.used.clear();
        self.frame += 1;
        if self.known.len() > REMEMBERED_MAX {
            self.slots = [NONE; SLOTS];
            self.families.clear();
            self.known.clear();
            self.contents.clear();
            self.by_content.clear();
            self.generation += 1;
        }
    }

    /// Whether any shape was used since the last [`clear`](Self::clear); if not, the values can be read
    /// without the dictionary.
    pub fn has_shapes(&self) -> bool {
        !self.used.is_empty()
    }

    /// What the dictionary is made of: equal answers mean equal dictionaries.
    #[inline]
    pub(super) fn used(&self) -> (u64, &[u32]) {
        (self.generation, &self.used)
    }

    /// The shape this head had last time.
    #[inline]
    pub(super) fn guess(&self, head: &Head) -> Option<u32> {
        self.find(head).map(|family| self.families[family].last)
    }

    #[inline]
    fn find(&self, head: &Head) -> Option<usize> {
        let start = head.slot();
        for probe in 0..PROBES {
            let family = self.slots[(start + probe) % SLOTS] as usize;
            if self.families.get(family)?.head.is(head) {
                return Some(family);
            }
        }
        None
    }

    /// The number of a shape if this frame has it already.
    #[inline]
    pub(super) fn number(&self, known: u32) -> Option<u32> {
        let content = &self.contents[self.known[known as usize].content as usize];
        (content.frame == self.frame).then_some(content.id)
    }

    /// The names of a shape's fields.
    #[inline]
    pub(super) fn fields(&self, known: u32) -> &[&'static str] {
        &self.known[known as usize].fields
    }

    /// The number of a shape in this frame, given now if it has none.
    pub(super) fn assign(&mut self, known: u32) -> u32 {
        let index = self.known[known as usize].content;
        let content = &mut self.contents[index as usize];
        if content.frame != self.frame {
            content.frame = self.frame;
            content.id = self.used.len() as u32;
            self.used.push(index);
        }
        content.id
    }

    /// Another shape of the same head that agrees with `known` in its first `agreed` fields and goes
    /// on with `next`.
    #[cold]
    pub(super) fn alternative(
        &mut self,
        head: &Head,
        known: u32,
        agreed: usize,
        next: &str,
    ) -> Option<u32> {
        let family = self.find(head)?;
        let family = &mut self.families[family];
        let prefix = &self.known[known as usize].fields[..agreed];
        let found = family
            .members
            .iter()
            .copied()
            .take(CANDIDATES_TRIED_MAX)
            .find(|&member| {
                let fields = &self.known[member as usize].fields;
                fields.len() > agreed
                    && same(fields[agreed], next)
                    && fields.iter().zip(prefix).all(|(a, b)| same(a, b))
            })?;
        family.last = found;
        Some(found)
    }

    /// The shape of this head with exactly these fields, by content.
    #[cold]
    pub(super) fn intern(
        &mut self,
        head: &Head,
        fields: &[&'static str],
    ) -> Result<u32, EncodeError> {
        let family = self.family(head);
        let found = self.families[family]
            .members
            .iter()
            .copied()
            .find(|&member| {
                let known = &self.known[member as usize].fields;
                known.len() == fields.len() && known.iter().zip(fields).all(|(a, b)| same(a, b))
            });
        let known = match found {
            Some(known) => known,
            None => {
                let content = self.content(head, fields)?;
                self.known.push(Known {
                    fields: fields.into(),
                    content,
                });
                let known = (self.known.len() - 1) as u32;
                self.families[family].members.push(known);
                known
            }
        };
        self.families[family].last = known;
        Ok(known)
    }

    fn family(&mut self, head: &Head) -> usize {
        if let Some(found) = self.find(head) {
            return found;
        }
        let family = match self.families.iter().position(|family| family.head.is(head)) {
            Some(found) => found,
            None => {
                self.families.push(Family {
                    head: *head,
                    last: NONE,
                    members: Vec::new(),
                });
                self.families.len() - 1
            }
        };
        let start = head.slot();
        let free = (0..PROBES)
            .map(|probe| (start + probe) % SLOTS)
            .find(|&slot| self.slots[slot] == NONE);
        self.slots[free.unwrap_or(start)] = family as u32;
        family
    }

    fn content(&mut self, head: &Head, fields: &[&'static str]) -> Result<u32, EncodeError> {
        let count = if head.kind.has_names() {
            fields.len()
        } else {
            head.len
        };
        if count > FIELDS_MAX {
            return Err(EncodeError::TooManyFields {
                type_name: head.name,
                found: count,
                max: FIELDS_MAX,
            });
        }
        for name in fields.iter().chain([&head.name, &head.variant]) {
            if name.len() > NAME_BYTES_MAX {
                let start = name.chars().take(32).collect();
                return Err(EncodeError::NameTooLong {
                    start,
                    max: NAME_BYTES_MAX,
                });
            }
        }
        let shape = ShapeKey {
            kind: head.kind,
            name: head.name,
            variant: head.variant,
            count,
            fields: fields.into(),
        };
        if let Some(&found) = self.by_content.get(&shape) {
            return Ok(found);
        }
        let index = self.contents.len() as u32;
        self.by_content.insert(shape.clone(), index);
        self.contents.push(Content {
            shape,
            frame: 0,
            id: 0,
        });
        Ok(index)
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    put_varint(out, name.len() as u64);
    out.extend_from_slice(name.as_bytes());
}
