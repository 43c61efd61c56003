//! Any filter on what is pushed down lets pass what it lets pass in memory: random ones, nested.

use millstream::StoredEvent;
use millstream_engine::time::Timestamp;
use proptest::prelude::*;

use crate::support::{START, STEP, STREAMS, ask, data};

#[derive(Clone, Copy, Debug)]
enum Op {
    Less,
    UpTo,
    More,
    From,
    Is,
    IsNot,
}

impl Op {
    fn sql(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::UpTo => "<=",
            Self::More => ">",
            Self::From => ">=",
            Self::Is => "=",
            Self::IsNot => "<>",
        }
    }

    fn holds<T: Ord>(self, one: T, other: T) -> bool {
        match self {
            Self::Less => one < other,
            Self::UpTo => one <= other,
            Self::More => one > other,
            Self::From => one >= other,
            Self::Is => one == other,
            Self::IsNot => one != other,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Partition,
    Offset,
    Version,
}

#[derive(Clone, Copy, Debug)]
enum Text {
    Type,
    Stream,
    Category,
    Id,
}

#[derive(Clone, Debug)]
enum Filter {
    Number(Number, Op, i64),
    Recorded(Op, i64),
    EventTime(Op, i64),
    Text(Text, Op, String),
    AnyOf(Text, Vec<String>),
    Prefix(Text, String),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
}

fn text_of(text: Text, event: &StoredEvent) -> &str {
    let (category, id) = event.stream.split_once('-').unwrap();
    match text {
        Text::Type => &event.event_type,
        Text::Stream => &event.stream,
        Text::Category => category,
        Text::Id => id,
    }
}

impl Filter {
    fn sql(&self) -> String {
        match self {
            Self::Number(number, op, value) => {
                let name = format!("{number:?}").to_lowercase();
                format!("\"{name}\" {} {value}", op.sql())
            }
            Self::Recorded(op, time) => format!("recorded_at {} '{}'", op.sql(), Timestamp(*time)),
            Self::EventTime(op, time) => {
                format!("'{}' {} event_time", Timestamp(*time), op.sql())
            }
            Self::Text(text, op, value) => {
                format!("{} {} '{value}'", name_of(*text), op.sql())
            }
            Self::AnyOf(text, values) => {
                let values: Vec<_> = values.iter().map(|value| format!("'{value}'")).collect();
                format!("{} in ({})", name_of(*text), values.join(", "))
            }
            Self::Prefix(text, prefix) => format!("{} like '{prefix}%'", name_of(*text)),
            Self::And(one, other) => format!("({} and {})", one.sql(), other.sql()),
            Self::Or(one, other) => format!("({} or {})", one.sql(), other.sql()),
            Self::Not(filter) => format!("not ({})", filter.sql()),
        }
    }

    fn holds(&self, event: &StoredEvent) -> bool {
        match self {
            Self::Number(number, op, value) => {
                let own = match number {
                    Number::Partition => i64::from(event.position.partition.0),
                    Number::Offset => event.position.offset.0 as i64,
                    Number::Version => event.version as i64,
                };
                op.holds(own, *value)
            }
            Self::Recorded(op, time) => op.holds(event.recorded_at.0, *time),
            Self::EventTime(op, time) => op.holds(*time, event.event_time.0),
            Self::Text(text, op, value) => op.holds(text_of(*text, event), value),
            Self::AnyOf(text, values) => {
                let own = text_of(*text, event);
                values.iter().any(|value| value == own)
            }
            Self::Prefix(text, prefix) => text_of(*text, event).starts_with(prefix.as_str()),
            Self::And(one, other) => one.holds(event) && other.holds(event),
            Self::Or(one, other) => one.holds(event) || other.holds(event),
            Self::Not(filter) => !filter.holds(event),
        }
    }
}

fn name_of(text: Text) -> String {
    format!("\"{}\"", format!("{text:?}").to_lowercase())
}

fn op() -> impl Strategy<Value = Op> {
    use Op::{From, Is, IsNot, Less, More, UpTo};
    prop::sample::select(vec![Less, UpTo, More, From, Is, IsNot])
}

fn text() -> impl Strategy<Value = (Text, String)> {
    let types = prop::sample::select(vec!["Entered", "Left", "Noted", "Secret", "None"]);
    let number = 0..STREAMS + 2;
    let kind = prop::sample::select(vec!["visit", "note", "nothing"]);
    prop_oneof![
        types.prop_map(|name| (Text::Type, name.to_owned())),
        (kind.clone(), number.clone())
            .prop_map(|(kind, number)| (Text::Stream, format!("{kind}-{number}"))),
        kind.prop_map(|kind| (Text::Category, kind.to_owned())),
        number.prop_map(|number| (Text::Id, number.to_string())),
    ]
}

fn any_of() -> impl Strategy<Value = Filter> {
    prop::collection::vec(text(), 1..6).prop_map(|values| {
        let of = values[0].0;
        let same = values.into_iter();
        let same =
            same.filter(|(text, _)| std::mem::discriminant(text) == std::mem::discriminant(&of));
        Filter::AnyOf(of, same.map(|(_, value)| value).collect())
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let number = prop::sample::select(vec![Number::Partition, Number::Offset, Number::Version]);
    // Between times as well as at them.
    let time = (-20i64..40, -1i64..2).prop_map(|(step, odd)| START + step * STEP + odd);
    let leaf = prop_oneof![
        (number, op(), -2i64..6).prop_map(|(number, op, value)| Filter::Number(number, op, value)),
        (op(), 0i64..900).prop_map(|(op, value)| Filter::Number(Number::Offset, op, value)),
        (op(), time.clone()).prop_map(|(op, time)| Filter::Recorded(op, time)),
        (op(), time).prop_map(|(op, time)| Filter::EventTime(op, time)),
        (text(), op()).prop_map(|((text, value), op)| Filter::Text(text, op, value)),
        any_of(),
        (text(), 0usize..4).prop_map(|((text, value), length)| {
            Filter::Prefix(text, value.chars().take(length).collect())
        }),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            3 => (inner.clone(), inner.clone())
                .prop_map(|(one, other)| Filter::And(Box::new(one), Box::new(other))),
            2 => (inner.clone(), inner.clone())
                .prop_map(|(one, other)| Filter::Or(Box::new(one), Box::new(other))),
            1 => inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_is_pushed_down_lets_pass_what_the_filter_does(filter in filter(), limit in 0usize..50) {
        let events = data().events.iter().filter(|event| filter.holds(event));
        let expected = events.map(|event| {
            vec![event.position.partition.to_string(), event.position.offset.to_string()]
        });
        let mut expected: Vec<_> = expected.collect();
        expected.sort();
        let query = format!("select \"partition\", \"offset\" from events where {}", filter.sql());
        let answer = ask(&query);
        prop_assert_eq!(answer.sorted(), expected.clone(), "{}\n{}", query, answer.plan);

        let some = ask(&format!("{query} limit {limit}")).sorted();
        prop_assert_eq!(some.len(), limit.min(expected.len()), "{}", query);
        prop_assert!(some.iter().all(|row| expected.contains(row)), "{}", query);
        let count = ask(&format!("select count(*) from events where {}", filter.sql()));
        prop_assert_eq!(count.column(), [expected.len().to_string()]);
    }
}
