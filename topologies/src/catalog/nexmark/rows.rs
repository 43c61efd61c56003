//! The rows that the queries give.
//!
//! A window is named by its start, inclusive; its end follows from the query. Rows of q0 are the events,
//! rows of q1 bids. Means are rounded half up to whole cents.

use compact_str::CompactString;
use millstream_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::checksum::canonical;

/// Declares a row: a struct with what all rows derive, and its canonical form.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type),+
        }
        canonical! { $name { $($field),+ } }
    };
}

row! {
    /// q2: a bid on one of the chosen auctions.
    SelectedBid {
        /// The auction.
        auction: u64,
        /// The offer, in cents.
        price: u64,
    }
}

row! {
    /// q3: an auction near by.
    LocalItem {
        /// The seller's name.
        name: CompactString,
        /// The seller's city.
        city: CompactString,
        /// The seller's state.
        state: CompactString,
        /// The auction.
        auction: u64,
    }
}

row! {
    /// q4: the mean winning price of a category.
    CategoryPrice {
        /// Start of the window.
        window: Timestamp,
        /// The category.
        category: u64,
        /// Mean price, in cents.
        mean: u64,
    }
}

row! {
    /// q5: an auction that no other had more bids than.
    HotItem {
        /// Start of the window.
        window: Timestamp,
        /// The auction.
        auction: u64,
        /// Its bids in the window.
        bids: u64,
    }
}

row! {
    /// q6: what a seller's last auctions brought.
    SellerPrice {
        /// The seller.
        seller: u64,
        /// Mean price of up to ten winning bids, in cents.
        mean: u64,
    }
}

row! {
    /// q7: a bid that none in its window was above.
    HighestBid {
        /// Start of the window.
        window: Timestamp,
        /// The auction.
        auction: u64,
        /// Who made it.
        bidder: u64,
        /// The offer, in cents.
        price: u64,
        /// When it was made.
        date_time: Timestamp,
    }
}

row! {
    /// q8 as in Beam: an auction of a new person.
    NewSellerAuction {
        /// Start of the window.
        window: Timestamp,
        /// The person.
        person: u64,
        /// The person's name.
        name: CompactString,
        /// The auction's reserve, in cents.
        reserve: u64,
    }
}

row! {
    /// q8 as in nexmark-flink: a new person who opened at least one auction.
    NewSeller {
        /// Start of the window.
        window: Timestamp,
        /// The person.
        person: u64,
        /// The person's name.
        name: CompactString,
    }
}

row! {
    /// q9: an auction's winning bid.
    WinningBid {
        /// The auction.
        auction: u64,
        /// Its seller.
        seller: u64,
        /// Its category.
        category: u64,
        /// When it ended.
        expires: Timestamp,
        /// Who won.
        bidder: u64,
        /// What for, in cents.
        price: u64,
        /// When the bid was made.
        date_time: Timestamp,
    }
}

row! {
    /// q11: bids that follow one another closely.
    BidderSession {
        /// Who made them.
        bidder: u64,
        /// Time of the first.
        start: Timestamp,
        /// Ten seconds after the last, exclusive.
        end: Timestamp,
        /// How many.
        bids: u64,
    }
}

row! {
    /// q12: bids of a window of processing time.
    BidderWindow {
        /// Start of the window.
        window: Timestamp,
        /// Who made them.
        bidder: u64,
        /// How many.
        bids: u64,
    }
}

row! {
    /// q13: a bid with what the table says.
    EnrichedBid {
        /// The auction.
        auction: u64,
        /// Who made it.
        bidder: u64,
        /// The offer, in cents.
        price: u64,
        /// When it was made.
        date_time: Timestamp,
        /// The table's value.
        value: CompactString,
    }
}
