//! The same event type through its life, in both encodings.

use super::super::*;

/// The same event type at four points of its life, in both encodings.
macro_rules! generations {
    ($module:ident, $encoding:expr) => {
        pub(in super::super) mod $module {
            use super::*;

            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub(in super::super::super) enum First {
                Opened { owner: String },
                Deposited { amount: u64 },
                Moved(u64, String),
                Renamed(String),
                Closed,
            }

            impl Event for First {
                const ENCODING: Encoding = $encoding;
            }

            /// Fields were added, with defaults, and one was removed: no new version.
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub(in super::super::super) enum FirstLater {
                Closed,
                Deposited {
                    #[serde(default)]
                    channel: Option<String>,
                    amount: u64,
                },
                Opened {
                    #[serde(default = "eur")]
                    currency: String,
                },
            }

            impl Event for FirstLater {
                const ENCODING: Encoding = $encoding;
            }

            /// Version 2 counts in cents; version 3 calls deposits credits and has no `Renamed`.
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub(in super::super::super) enum Third {
                Opened { owner: String },
                Credited { cents: u64, channel: String },
                Moved { cents: u64, to: String },
                Retired,
                Closed,
            }

            impl Event for Third {
                const VERSION: u32 = 3;
                const ENCODING: Encoding = $encoding;

                fn upcasters() -> Upcasters {
                    Upcasters::none()
                        .step("Deposited", 1, |mut event| {
                            let euros = event.remove("amount").and_then(|amount| amount.as_u64());
                            let euros = euros.ok_or_else(|| UpcastError::refused("no amount"))?;
                            event.set("cents", euros * 100)?;
                            Ok(event)
                        })
                        .typed("Moved", 1, |(euros, to): (u64, String)| {
                            Ok(Move {
                                cents: euros * 100,
                                to,
                            })
                        })
                        .unchanged(1)
                        .step("Deposited", 2, |mut event| {
                            event.rename("Credited")?;
                            event.set("channel", "unknown")?;
                            Ok(event)
                        })
                        .step("Renamed", 2, |_| {
                            Ok(Value::unit_variant("", "Retired"))
                        })
                        .unchanged(2)
                }
            }

            #[derive(Serialize)]
            struct Move {
                cents: u64,
                to: String,
            }

            /// What version 4 writes.
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub(in super::super::super) enum Fourth {
                Closed { reason: String },
                Opened { owner: String, tags: Vec<String> },
                Frozen,
            }

            impl Event for Fourth {
                const VERSION: u32 = 4;
                const ENCODING: Encoding = $encoding;
            }

            /// Version 3 with eyes for the future.
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub(in super::super::super) enum ThirdOpen {
                Opened { owner: String },
                Closed,
            }

            impl Event for ThirdOpen {
                const VERSION: u32 = 3;
                const ENCODING: Encoding = $encoding;
                const FORWARD_COMPATIBLE: bool = true;
            }

            fn eur() -> String {
                "EUR".to_owned()
            }

            #[test]
            fn added_fields_have_their_default_and_unknown_ones_are_ignored() {
                let stored = store(&First::Deposited { amount: 7 });
                let expected = FirstLater::Deposited {
                    channel: None,
                    amount: 7,
                };
                assert_eq!(load::<FirstLater>(&stored).unwrap(), expected);
                let stored = store(&First::Opened {
                    owner: "Ada".to_owned(),
                });
                let expected = FirstLater::Opened { currency: eur() };
                assert_eq!(load::<FirstLater>(&stored).unwrap(), expected);
            }

            #[test]
            fn a_removed_variant_is_refused_by_name() {
                let stored = store(&First::Renamed("x".to_owned()));
                let error = load::<FirstLater>(&stored).unwrap_err();
                assert!(error.to_string().contains("Renamed"), "{error}");
            }

            #[test]
            fn every_event_of_version_1_reaches_version_3() {
                let owner = "Ada".to_owned();
                let pairs = [
                    (
                        First::Opened {
                            owner: owner.clone(),
                        },
                        Third::Opened { owner },
                    ),
                    (
                        First::Deposited { amount: 7 },
                        Third::Credited {
                            cents: 700,
                            channel: "unknown".to_owned(),
                        },
                    ),
                    (
                        First::Moved(5, "43".to_owned()),
                        Third::Moved {
                            cents: 500,
                            to: "43".to_owned(),
                        },
                    ),
                    (First::Renamed("x".to_owned()), Third::Retired),
                    (First::Closed, Third::Closed),
                ];
                // One reader for all, twice: what it learned must not mislead it.
                let mut reader = EventReader::<Third>::new();
                for (old, new) in pairs.iter().chain(&pairs) {
                    let stored = store(old);
                    reader.begin_frame(&stored.dictionary).unwrap();
                    assert_eq!(&reader.decode(&stored.kind, &stored.payload).unwrap(), new);
                    let stored = store(new);
                    reader.begin_frame(&stored.dictionary).unwrap();
                    assert_eq!(&reader.decode(&stored.kind, &stored.payload).unwrap(), new);
                }
            }

            #[test]
            fn a_newer_version_is_refused_unless_the_type_says_otherwise() {
                let stored = store(&Fourth::Opened {
                    owner: "Ada".to_owned(),
                    tags: vec!["vip".to_owned()],
                });
                let refused = DecodeError::UnknownVersion {
                    event_type: "Opened".to_owned(),
                    found: 4,
                    known: 3,
                };
                assert_eq!(load::<Third>(&stored).unwrap_err(), refused);
                let expected = ThirdOpen::Opened {
                    owner: "Ada".to_owned(),
                };
                assert_eq!(load::<ThirdOpen>(&stored).unwrap(), expected);
                let error = load::<ThirdOpen>(&store(&Fourth::Frozen)).unwrap_err();
                assert!(error.to_string().contains("Frozen"), "{error}");
            }

            #[test]
            fn missing_and_failing_steps_are_told_apart() {
                let stored = store(&First::Closed);
                let missing = DecodeError::MissingUpcaster {
                    event_type: "Closed".to_owned(),
                    found: 1,
                    missing: 1,
                    known: 3,
                };
                assert_eq!(load::<ThirdOpen>(&stored).unwrap_err(), missing);

                let mut stored = store(&First::Opened {
                    owner: "Ada".to_owned(),
                });
                stored.kind.event_type = "Deposited".into();
                let error = load::<Third>(&stored).unwrap_err();
                let DecodeError::Upcast {
                    event_type,
                    from,
                    source,
                } = error
                else {
                    panic!("{error}");
                };
                assert_eq!((event_type.as_str(), from), ("Deposited", 1));
                assert_eq!(*source, UpcastError::refused("no amount"));

                let mut stored = store(&First::Closed);
                stored.kind.event_type = "Moved".into();
                let error = load::<Third>(&stored).unwrap_err();
                let DecodeError::Upcast { source, .. } = error else {
                    panic!("{error}");
                };
                assert!(matches!(*source, UpcastError::Old(_)), "{source}");
            }

            #[test]
            fn the_reader_goes_on_after_an_error() {
                let stored = store(&First::Deposited { amount: 7 });
                let mut reader = EventReader::<First>::new();
                reader.begin_frame(&stored.dictionary).unwrap();
                let half = &stored.payload[..stored.payload.len() - 1];
                reader.decode(&stored.kind, half).unwrap_err();
                reader.decode(&stored.kind, &stored.payload).unwrap();
            }

            #[test]
            fn json_shows_what_was_stored() {
                let cases = [
                    (First::Closed, json!("Closed")),
                    (
                        First::Deposited { amount: 7 },
                        json!({"Deposited": {"amount": 7}}),
                    ),
                    (
                        First::Moved(5, "43".to_owned()),
                        json!({"Moved": [5, "43"]}),
                    ),
                    (First::Renamed("x".to_owned()), json!({"Renamed": "x"})),
                ];
                for (event, expected) in cases {
                    let stored = store(&event);
                    let shown =
                        payload_to_json(stored.kind.encoding, &stored.dictionary, &stored.payload);
                    assert_eq!(shown.unwrap(), expected);
                }
            }
        }
    };
}

generations!(binary, Encoding::Binary);
generations!(text, Encoding::Json);
