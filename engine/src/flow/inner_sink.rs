//! The calls that an operator passes on to a sink inside of it.

/// Inside of an `impl Operator`: calls that are passed on to a sink in the field of this name, such as an operator's
/// late sink. Without a list all of them but `item` and `batch`; an operator that does something of its own at a call
/// lists the others, and passes its own on by itself. A sink may hold the end back, such as where failed items are tried
/// again: whoever passes on `holds_end` and `before_end` passes on `watermark`, `processing_time` and `next_due` as well, or
/// it would never let go of it.
///
/// ```
/// use std::convert::Infallible;
/// use millstream_engine::flow::{Discard, Emit, Operator, inner_sink};
/// use millstream_engine::time::Timestamp;
///
/// /// Gives even numbers on, and odd ones to a sink.
/// struct Even<S> {
///     odd: S,
/// }
///
/// impl<S: Operator<u64, Out = Infallible>> Operator<u64> for Even<S> {
///     type Out = u64;
///
///     fn item<E: Emit<u64>>(&mut self, time: Timestamp, number: u64, out: &mut E) {
///         if number % 2 == 0 {
///             out.emit(time, number);
///         } else {
///             self.odd.item(time, number, &mut Discard);
///         }
///     }
///
///     inner_sink!(odd);
/// }
/// ```
#[macro_export]
macro_rules! inner_sink {
    ($sink:ident) => {
        $crate::inner_sink!($sink: watermark late_before open begin processing_time next_due flush
            is_blocked blocked idle holds_end before_end end state_items before_barrier save restore checkpointed awaits_checkpoint);
    };
    ($sink:ident: $($call:ident)+) => {
        $($crate::inner_sink!(@$call $sink);)+
    };
    (@watermark $sink:ident) => {
        fn watermark<E: $crate::flow::Emit<Self::Out>>(
            &mut self,
            watermark: $crate::time::Timestamp,
            _out: &mut E,
        ) {
            self.$sink.watermark(watermark, &mut $crate::flow::Discard);
        }
    };
    (@late_before $sink:ident) => {
        fn late_before(&mut self, limit: $crate::time::Timestamp) {
            self.$sink.late_before(limit);
        }
    };
    (@open $sink:ident) => {
        fn open(&mut self, wiring: &$crate::flow::Wiring) -> Result<(), $crate::flow::Fault> {
            self.$sink.open(wiring)
        }
    };
    (@begin $sink:ident) => {
        fn begin(&mut self, turn: &$crate::flow::Turn) {
            self.$sink.begin(turn);
        }
    };
    (@processing_time $sink:ident) => {
        fn processing_time<E: $crate::flow::Emit<Self::Out>>(
            &mut self,
            now: $crate::time::Timestamp,
            _out: &mut E,
        ) {
            self.$sink.processing_time(now, &mut $crate::flow::Discard);
        }
    };
    (@next_due $sink:ident) => {
        fn next_due(&self) -> Option<$crate::time::Timestamp> {
            self.$sink.next_due()
        }
    };
    (@flush $sink:ident) => {
        fn flush(&mut self, idle: bool) -> Result<(), $crate::flow::Fault> {
            self.$sink.flush(idle)
        }
    };
    (@is_blocked $sink:ident) => {
        fn is_blocked(&self) -> bool {
            self.$sink.is_blocked()
        }
    };
    (@blocked $sink:ident) => {
        fn blocked(&mut self, waits: &mut Vec<$crate::stage::Blocked>) {
            self.$sink.blocked(waits);
        }

        fn blocked_due(&self) -> Option<$crate::time::Timestamp> {
            self.$sink.blocked_due()
        }
    };
    (@idle $sink:ident) => {
        fn idle(&mut self) {
            self.$sink.idle();
        }
    };
    (@holds_end $sink:ident) => {
        fn holds_end(&self) -> bool {
            self.$sink.holds_end()
        }
    };
    (@before_end $sink:ident) => {
        fn before_end<E: $crate::flow::Emit<Self::Out>>(&mut self, _out: &mut E) -> bool {
            self.$sink.before_end(&mut $crate::flow::Discard)
        }
    };
    (@end $sink:ident) => {
        fn end<E: $crate::flow::Emit<Self::Out>>(&mut self, _out: &mut E) {
            self.$sink.end(&mut $crate::flow::Discard);
        }
    };
    (@before_barrier $sink:ident) => {
        fn before_barrier<E: $crate::flow::Emit<Self::Out>>(&mut self, _out: &mut E) {
            self.$sink.before_barrier(&mut $crate::flow::Discard);
        }
    };
    (@save $sink:ident) => {
        fn save(
            &mut self,
            saving: &mut $crate::checkpoint::Saving,
        ) -> Result<(), $crate::flow::Fault> {
            self.$sink.save(saving)
        }
    };
    (@restore $sink:ident) => {
        fn restore(
            &mut self,
            restoring: &mut $crate::checkpoint::Restoring,
        ) -> Result<(), $crate::flow::Fault> {
            self.$sink.restore(restoring)
        }
    };
    (@checkpointed $sink:ident) => {
        fn checkpointed(
            &mut self,
            epoch: $crate::checkpoint::Epoch,
        ) -> Result<(), $crate::flow::Fault> {
            self.$sink.checkpointed(epoch)
        }
    };
    (@awaits_checkpoint $sink:ident) => {
        fn awaits_checkpoint(&self) -> bool {
            self.$sink.awaits_checkpoint()
        }
    };
    (@state_items $sink:ident) => {
        fn state_items(&self, into: &mut Vec<(&'static str, usize)>) {
            self.$sink.state_items(into);
        }
    };
}
