//! A queue that holds so many items at most, and so many bytes of them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The end that puts items in.
#[derive(Debug)]
pub struct Sender<T> {
    queue: mpsc::Sender<Queued<T>>,
    room: Arc<Semaphore>,
    bytes_max: usize,
}

/// An item on its way; dropping it makes room for the next.
#[derive(Debug)]
pub struct Queued<T> {
    item: T,
    _room: OwnedSemaphorePermit,
}

impl<T> Queued<T> {
    /// The item, which doesn't count any more.
    pub fn take(self) -> T {
        self.item
    }
}

/// Nobody takes items any more.
#[derive(Debug)]
pub struct Gone;

/// A queue; `bytes_max` is less than 512 MiB.
pub fn queue<T>(items_max: usize, bytes_max: usize) -> (Sender<T>, mpsc::Receiver<Queued<T>>) {
    let (queue, items) = mpsc::channel(items_max);
    (Sender { queue, room: Arc::new(Semaphore::new(bytes_max)), bytes_max }, items)
}

impl<T> Sender<T> {
    /// Puts in an item of so many bytes when there is room for it; one that is larger than the queue has it for itself.
    pub async fn send(&self, item: T, bytes: usize) -> Result<(), Gone> {
        let bytes = u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| Gone)?;
        self.queue.send(Queued { item, _room: room }).await.map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_waits_for_room_whether_items_or_bytes_fill_it() {
        let (sender, mut items) = queue::<u8>(2, 10);
        for bytes in [9, 1] {
            sender.send(1, bytes).await.unwrap();
        }
        let sending = tokio::spawn(async move {
            sender.send(2, 99).await.unwrap();
            sender
        });
        assert_eq!(items.recv().await.unwrap().take(), 1);
        assert!(!sending.is_finished(), "one byte is under way, and it needs all");
        assert_eq!(items.recv().await.unwrap().take(), 1);
        assert_eq!(items.recv().await.unwrap().take(), 2);
        let sender = sending.await.unwrap();
        drop(items);
        assert!(sender.send(3, 1).await.is_err());
    }
}
