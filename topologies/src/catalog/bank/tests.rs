//! The bank's domain over the real bank's history, and the rules one by one.

use std::collections::HashMap;
use std::io::Cursor;

use compact_str::CompactString;
use jiff::civil::date;
use proptest::prelude::*;

use super::account::{
    Account, AccountCommand, AccountEvent, AccountRejection, Channel, Fee, ROUNDING_MAX,
};
use super::berka::{
    BerkaError, BerkaReport, History, INCOMPLETE_FROM, ORDER_COLUMNS, TRANS_COLUMNS,
};
use super::cents::{Cents, CentsError};
use super::ledger::{Ledger, World, postings};
use crate::catalog::testing::{given, send, shared_data};

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

/// Goal: after each of the bank's transactions every account has the balance that the bank recorded.
#[test]
fn real_history_has_every_recorded_balance() {
    let trans = shared_data("berka/trans_prefix.asc.zst");
    let order = shared_data("berka/order_found.csv.zst");
    let (Some(trans), Some(order)) = (trans, order) else {
        return;
    };
    let history = History::open(&trans, &order, INCOMPLETE_FROM).unwrap();
    let mut accounts: HashMap<CompactString, Account> = HashMap::new();
    let mut ledger = Ledger::default();
    let mut last_us = i64::MIN;
    let mut below_zero = 0;
    for step in history.steps() {
        assert!(last_us <= step.at_us);
        last_us = step.at_us;
        let account = accounts.entry(step.id.clone()).or_default();
        for command in step.open.into_iter().chain([step.entry]).chain(step.round) {
            let events = send(account, command).unwrap_or_else(|refused| {
                panic!(
                    "line {} of account {}: {refused}",
                    step.recorded.line, step.id
                )
            });
            events
                .iter()
                .for_each(|event| ledger.apply(&step.id, event));
            assert_eq!(ledger.sum(), 0);
        }
        assert_eq!(
            account.balance(),
            step.recorded.balance,
            "line {}",
            step.recorded.line
        );
        below_zero += u64::from(account.balance() < Cents::ZERO);
    }
    let expected = BerkaReport {
        transactions: 46_997,
        accounts: 1_229,
        overdrafts: 26,
        exact: 44_966,
        rounded: 2_031,
        rounding_sum: Cents::new(-4_270),
        rounding_max: ROUNDING_MAX,
    };
    let balances = accounts
        .values()
        .map(|account| i128::from(account.balance().hundredths()));
    assert_eq!((ledger.owed(), ledger.sum_anew()), (balances.sum(), 0));
    let rounding_sum = i128::from(history.report().rounding_sum.hundredths());
    assert_eq!(ledger.world(World::Rounding), -rounding_sum);
    assert_eq!((history.report(), below_zero), (expected, 88));
}

fn import(trans: &str, order: &str) -> Result<History, BerkaError> {
    let header: Vec<_> = TRANS_COLUMNS
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    let trans = format!("{}\r\n{trans}", header.join(";"));
    let order = format!("{}\n{order}", ORDER_COLUMNS.join(","));
    History::from_readers(Cursor::new(trans), Cursor::new(order), date(1994, 3, 31))
}

const DEPOSIT: &str = "1;42;930101;\"PRIJEM\";\"VKLAD\";700.00;700.00;\"\";;\r\n";

#[test]
fn order_rounding_and_limit_are_found() {
    let trans = [
        "2;42;930102;\"VYDAJ\";\"VYBER KARTOU\";750.00;-50.00;\" \";;\r\n",
        "3;42;930102;\"VYDAJ\";\"VYBER\";10.00;-60.10;\"SANKC. UROK\";;\r\n",
        DEPOSIT,
        "4;42;940331;\"WHAT\";\"\";1.00;1.00;\"\";;\r\n",
    ];
    let order = "0,42,1,930101,2,0\n1,42,2,930102,0,0\n2,42,3,930102,1,-10\n";
    let history = import(&trans[..3].concat(), order).unwrap();
    let steps: Vec<_> = history.steps().collect();
    assert_eq!(
        steps
            .iter()
            .map(|step| step.recorded.id)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(
        steps[0].open,
        Some(AccountCommand::Open {
            overdraft_limit: cents("50")
        })
    );
    assert_eq!((&steps[1].open, &steps[1].round), (&None, &None));
    let round = AccountCommand::Round {
        difference: cents("-0.10"),
        reference: 3,
    };
    assert_eq!(steps[2].round, Some(round));
    assert_eq!(history.accounts().collect::<Vec<_>>(), [(42, cents("50"))]);
    // A word that is not known is an error on days left out, too.
    let error = import(&trans.concat(), order).unwrap_err();
    assert_eq!(
        error.to_string(),
        "trans, line 5, type: \"WHAT\" is not a known word"
    );
}

#[test]
fn bad_history_is_named_by_line_and_field() {
    let place = "0,42,1,930101,0,0\n";
    for (trans, order, expected) in [
        (
            DEPOSIT.replace("700.00;7", "700.001;7"),
            place,
            "trans, line 2, amount: \"700.001\" is not a number",
        ),
        (
            DEPOSIT.replace("700.00;7", "0.00;7"),
            place,
            "trans, line 2, amount: \"0.00\" is out of range",
        ),
        (
            DEPOSIT.replace("930101", "931301"),
            place,
            "trans, line 2, date: \"931301\" is not a date",
        ),
        (
            DEPOSIT.replace("VKLAD", "VYBER"),
            place,
            "trans, line 2, operation: \"VYBER\" is not a known word",
        ),
        (
            DEPOSIT.replace("\"\";;", "\"SLUZBY\";;"),
            place,
            "trans, line 2, k_symbol: \"SLUZBY\" is not a known word",
        ),
        (
            DEPOSIT.replace(";700.00;\"", ";700.11;\""),
            place,
            "trans, line 2, balance: 700.11 recorded, 700.00 computed",
        ),
        (
            DEPOSIT.repeat(2),
            place,
            "trans, line 3, trans_id: the order has no transaction 1 of account 42",
        ),
        (
            DEPOSIT.to_owned(),
            "",
            "trans, line 2, trans_id: the order has no transaction 1 of account 42",
        ),
        (
            DEPOSIT.to_owned(),
            "0,42,1,,,\n1,42,1,,,\n",
            "order, line 3, trans_id: transaction 1 is there twice",
        ),
        (
            DEPOSIT.to_owned(),
            "-1,42,1,,,\n",
            "order, line 2, seq: \"-1\" is not a number",
        ),
    ] {
        assert_eq!(import(&trans, order).unwrap_err().to_string(), expected);
    }
}

/// Goal: no rows make the import panic.
#[test]
fn any_rows_are_history_or_errors() {
    let field = prop_oneof![
        Just("1".to_owned()),
        Just("930101".to_owned()),
        Just("PRIJEM".to_owned()),
        Just("VKLAD".to_owned()),
        Just("\"".to_owned()),
        Just("-92233720368547758.08".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        ".{0,8}",
    ];
    let row = proptest::collection::vec(field, 0..12);
    let amount = || any::<i64>().prop_map(|hundredths| Cents::new(hundredths).to_string());
    let nearly = (amount(), amount()).prop_map(|(amount, balance)| {
        DEPOSIT.replace("700.00;700.00", &format!("{amount};{balance}"))
    });
    proptest!(|(row in row, nearly in nearly)| {
        let _ = import(&row.join(";"), &row.join(","));
        let _ = import(&nearly, "0,42,1,930101,0,0\n");
    });
}
