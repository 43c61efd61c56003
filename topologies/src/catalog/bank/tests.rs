//! The bank's domain over the real bank's history, and the rules one by one.

mod history;

use proptest::prelude::*;

use super::account::{Account, AccountCommand, AccountEvent, AccountRejection, Channel, Fee};
use super::cents::{Cents, CentsError};
use super::ledger::{Ledger, postings};
use crate::catalog::testing::{given, send};

fn cents(text: &str) -> Cents {
    text.parse()
        .expect("a test writes amounts that are amounts")
}

fn opened(limit: &str) -> AccountEvent {
    AccountEvent::Opened {
        overdraft_limit: cents(limit),
    }
}

fn deposited(amount: &str) -> AccountEvent {
    AccountEvent::Deposited {
        amount: cents(amount),
        channel: Channel::Cash,
        reference: 1,
    }
}

fn withdraw(amount: &str) -> AccountCommand {
    AccountCommand::Withdraw {
        amount: cents(amount),
        channel: Channel::Card,
        reference: 2,
    }
}

#[test]
fn withdrawal_stops_at_the_limit() {
    let history = [opened("20"), deposited("100")];
    let events = given::<Account>(&history).when(withdraw("120")).unwrap();
    assert_eq!(
        events.iter().map(AccountEvent::change).collect::<Vec<_>>(),
        [cents("-120")]
    );

    let refused = given::<Account>(&history)
        .when(withdraw("120.01"))
        .unwrap_err();
    let (balance, limit, asked) = (cents("100"), cents("20"), cents("120.01"));
    assert_eq!(
        refused,
        AccountRejection::InsufficientFunds {
            balance,
            limit,
            asked
        }
    );
    assert_eq!(
        refused.to_string(),
        "120.01 asked, the balance is 100.00 and the overdraft limit 20.00"
    );
}

#[test]
fn fee_is_charged_beyond_the_limit() {
    let fee = AccountCommand::ChargeFee {
        amount: cents("5"),
        fee: Fee::Service,
        reference: 3,
    };
    let mut account = Account::default();
    send(
        &mut account,
        AccountCommand::Open {
            overdraft_limit: Cents::ZERO,
        },
    )
    .unwrap();
    send(&mut account, fee).unwrap();
    assert_eq!(
        (account.balance(), account.overdraft_limit()),
        (cents("-5"), Cents::ZERO)
    );
}

#[test]
fn account_is_opened_once_and_first() {
    let open = |limit| AccountCommand::Open {
        overdraft_limit: Cents::new(limit),
    };
    let limit = Cents::new(-1);
    assert_eq!(
        given::<Account>(&[]).when(withdraw("1")),
        Err(AccountRejection::NotOpen)
    );
    assert_eq!(
        given::<Account>(&[]).when(open(-1)),
        Err(AccountRejection::LimitNegative { limit })
    );
    assert_eq!(given::<Account>(&[]).when(open(0)), Ok(vec![opened("0")]));
    assert_eq!(
        given::<Account>(&[opened("0")]).when(open(0)),
        Err(AccountRejection::AlreadyOpen)
    );
}

#[test]
fn rounding_is_small_and_zero_is_nothing() {
    let round = |hundredths| AccountCommand::Round {
        difference: Cents::new(hundredths),
        reference: 4,
    };
    let history = [opened("0")];
    assert_eq!(
        given::<Account>(&[]).when(round(1)),
        Err(AccountRejection::NotOpen)
    );
    assert_eq!(given::<Account>(&history).when(round(0)), Ok(Vec::new()));
    for hundredths in [-10, 10] {
        let difference = Cents::new(hundredths);
        let rounded = AccountEvent::Rounded {
            difference,
            reference: 4,
        };
        assert_eq!(
            given::<Account>(&history).when(round(hundredths)),
            Ok(vec![rounded])
        );
    }
    for hundredths in [-11, 11, i64::MIN, i64::MAX] {
        let difference = Cents::new(hundredths);
        let refused = Err(AccountRejection::RoundingTooLarge { difference });
        assert_eq!(given::<Account>(&history).when(round(hundredths)), refused);
    }
}

#[test]
fn amounts_are_above_zero_and_balances_fit() {
    let history = [opened("0")];
    for hundredths in [0, -1, i64::MIN] {
        let amount = Cents::new(hundredths);
        let refused = Err(AccountRejection::AmountNotPositive { amount });
        let interest = AccountCommand::CreditInterest {
            amount,
            reference: 5,
        };
        let fee = AccountCommand::ChargeFee {
            amount,
            fee: Fee::Service,
            reference: 5,
        };
        assert_eq!(given::<Account>(&history).when(interest), refused);
        assert_eq!(given::<Account>(&history).when(fee), refused);
    }
    let amount = Cents::new(i64::MAX);
    let full = [
        opened("0"),
        AccountEvent::InterestCredited {
            amount,
            reference: 6,
        },
    ];
    let more = AccountCommand::CreditInterest {
        amount: Cents::new(1),
        reference: 7,
    };
    assert!(matches!(
        given::<Account>(&full).when(more),
        Err(AccountRejection::BalanceOverflow { .. })
    ));
}

#[test]
fn cents_are_read_and_written_exactly() {
    for (text, hundredths) in [("0", 0), ("12", 1_200), ("12.5", 1_250), ("-0.05", -5)] {
        assert_eq!(cents(text), Cents::new(hundredths));
    }
    for wrong in [
        "",
        "-",
        ".",
        "1.",
        ".5",
        "1.234",
        "1e2",
        "--1",
        "+1",
        "1-",
        "92233720368547758.08",
    ] {
        assert_eq!(wrong.parse::<Cents>(), Err(CentsError), "{wrong}");
    }
    proptest!(|(hundredths: i64, noise in ".{0,30}")| {
        let amount = Cents::new(hundredths);
        prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        let _ = noise.parse::<Cents>();
    });
}

fn any_command() -> impl Strategy<Value = AccountCommand> {
    let amount = prop_oneof![-20i64..2_000, any::<i64>()].prop_map(Cents::new);
    let channel = prop_oneof![
        Just(Channel::Cash),
        Just(Channel::Card),
        Just(Channel::Transfer)
    ];
    let fee = prop_oneof![Just(Fee::Service), Just(Fee::OverdraftInterest)];
    (0..6u8, amount, channel, fee).prop_map(|(kind, amount, channel, fee)| match kind {
        0 => AccountCommand::Open {
            overdraft_limit: amount,
        },
        1 => AccountCommand::Deposit {
            amount,
            channel,
            reference: 0,
        },
        2 => AccountCommand::Withdraw {
            amount,
            channel,
            reference: 0,
        },
        3 => AccountCommand::CreditInterest {
            amount,
            reference: 0,
        },
        4 => AccountCommand::ChargeFee {
            amount,
            fee,
            reference: 0,
        },
        _ => AccountCommand::Round {
            difference: amount,
            reference: 0,
        },
    })
}

/// Goal: whatever is asked, the books are in balance after every event and agree with the account.
#[test]
fn books_balance_at_every_moment() {
    proptest!(|(commands in proptest::collection::vec(any_command(), 0..60))| {
        let (mut account, mut ledger) = (Account::default(), Ledger::default());
        for command in commands {
            let withdrawal = matches!(command, AccountCommand::Withdraw { .. });
            for event in send(&mut account, command).unwrap_or_default() {
                if let Some([one, other]) = postings("42", &event) {
                    prop_assert_eq!(one.hundredths + other.hundredths, 0);
                }
                ledger.apply("42", &event);
                prop_assert_eq!((ledger.sum(), ledger.sum_anew()), (0, 0));
                prop_assert_eq!(ledger.account("42"), i128::from(account.balance().hundredths()));
                let (balance, limit) = (account.balance().hundredths(), account.overdraft_limit());
                prop_assert!(!withdrawal || i128::from(balance) >= -i128::from(limit.hundredths()));
            }
        }
    });
}
