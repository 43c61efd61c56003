//! What the entries of leaf pages refer to: trees, overflow runs, lists of free pages.

use super::*;

impl Walk<'_> {
    pub(super) fn leaf_node(
        &mut self,
        kind: Kind,
        number: u64,
        node: &Node<'_>,
    ) -> Result<(), StoreError> {
        match (kind, node.flags) {
            (Kind::Main, NODE_TREE) => self.named_tree(number, node),
            (Kind::Named | Kind::Free, 0) => {
                // Larger values go to overflow pages: LMDB relies on two nodes fitting a page.
                let largest = (((self.page_bytes - HEADER_BYTES) / 2) & !1) - 2;
                if node.bytes > largest {
                    return self.damaged(number, format!("a node of {} bytes", node.bytes));
                }
                if kind == Kind::Free {
                    self.free_list(number, node.value)
                } else {
                    Ok(())
                }
            }
            (Kind::Named | Kind::Free, NODE_OVERFLOW) => self.overflow(kind, number, node),
            (_, flags) => self.damaged(number, format!("an entry of kind {flags:#x}")),
        }
    }

    fn named_tree(&mut self, number: u64, node: &Node<'_>) -> Result<(), StoreError> {
        let tree = Tree::parse(node.value).filter(|_| node.value.len() == TREE_BYTES);
        match tree {
            Some(tree) if tree.flags == 0 && tree.pad == 0 => {
                let name = String::from_utf8_lossy(node.key).into_owned();
                self.report.names.push((name, tree.entries));
                self.named.push(tree);
                if !self.names.iter().any(|name| name.as_bytes() == node.key) {
                    self.strangers.push(number);
                }
                Ok(())
            }
            _ => self.damaged(number, "a database's description of another kind"),
        }
    }

    fn overflow(&mut self, kind: Kind, number: u64, node: &Node<'_>) -> Result<(), StoreError> {
        let Some(first) = read_u64(node.value, 0) else {
            return self.damaged(number, "an overflow page number outside the page");
        };
        let value_bytes = node.word;
        let needed = (HEADER_BYTES as u64 - 1 + value_bytes) / self.page_bytes as u64 + 1;
        self.mark(first, needed, number)?;
        if kind != Kind::Free && !self.afford() {
            // The run's header is left out; what LMDB reads of the value lies inside the file.
            self.counts.skipped += 1;
            return Ok(());
        }
        let mut head = [0; HEADER_BYTES];
        self.read(first, &mut head)?;
        let Some(header) = Header::parse(&head) else {
            return self.damaged(first, "page too short");
        };
        let pages = u64::from(header.overflow_pages);
        if header.number != first || header.flags != FLAG_OVERFLOW || pages < needed {
            return self.damaged(first, format!("not an overflow run of {needed} pages"));
        }
        // A value that shrank in place keeps its longer run.
        self.mark(first + needed, pages - needed, first)?;
        self.counts.overflow_pages += pages;
        if kind == Kind::Free {
            let mut list = vec![0; value_bytes as usize];
            let at = first * self.page_bytes as u64 + HEADER_BYTES as u64;
            self.file
                .read_exact_at(&mut list, at)
                .map_err(|e| StoreError::io(self.path, "reading", e))?;
            self.free_list(first, &list)?;
        }
        Ok(())
    }

    /// A list of free pages: their count, then their numbers, descending.
    fn free_list(&mut self, number: u64, list: &[u8]) -> Result<(), StoreError> {
        let count = read_u64(list, 0);
        let room = (list.len() / 8) as u64;
        let Some(count) = count.filter(|count| list.len().is_multiple_of(8) && *count < room)
        else {
            return self.damaged(number, "a list of free pages longer than its value");
        };
        let mut above = u64::MAX;
        for index in 1..=count as usize {
            let free = read_u64(list, index * 8).unwrap_or(0);
            if free >= above {
                return self.damaged(number, "a list of free pages out of order");
            }
            self.mark(free, 1, number)?;
            above = free;
        }
        self.report.free_pages += count;
        if self.txnid == 0 {
            return self.damaged(number, "free pages before the first transaction");
        }
        Ok(())
    }
}
