//! The common suite.

use hearth_store::conformance::{self, Instance, Stop, Subject};
use hearth_store::{Backend, BoxFuture};
use hearth_store_rocksdb::RocksBackend;
use tempfile::TempDir;

use crate::open;

struct OnDisk;

struct Store {
    store: RocksBackend,
    directory: TempDir,
}

impl Subject for OnDisk {
    fn create(&self) -> BoxFuture<'_, Box<dyn Instance>> {
        Box::pin(async {
            let directory = tempfile::tempdir().unwrap();
            let store = open(directory.path());
            let instance: Box<dyn Instance> = Box::new(Store { store, directory });
            instance
        })
    }
}

impl Instance for Store {
    fn backend(&self) -> &dyn Backend {
        &self.store
    }

    fn restart(self: Box<Self>, stop: Stop) -> BoxFuture<'static, Option<Box<dyn Instance>>> {
        Box::pin(async move {
            if stop == Stop::Clean {
                self.store.close().await.unwrap();
            }
            // Without a close, dropping is what a killed process leaves: nothing is flushed or marked.
            drop(self.store);
            let store = open(self.directory.path());
            let instance: Box<dyn Instance> = Box::new(Store {
                store,
                directory: self.directory,
            });
            Some(instance)
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    conformance::run(&OnDisk).await;
}
