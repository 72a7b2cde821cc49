use std::sync::Arc;

use futures_lite::future::block_on;

use super::*;

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn store() -> (tempfile::TempDir, LocalFolder) {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalFolder::open(folder.path().join("objects")).unwrap();
    (folder, store)
}

#[test]
fn what_is_put_is_got_and_listed() {
    let (_folder, store) = store();
    block_on(async {
        store.put(name("r=2/b"), vec![7; 10]).await.unwrap();
        store.put(name("r=1/a"), b"hello world".to_vec()).await.unwrap();
        store.put(name("top"), Vec::new()).await.unwrap();
        assert_eq!(store.get(name("r=1/a"), 6..11).await.unwrap(), b"world");
        assert_eq!(store.get(name("r=1/a"), 11..11).await.unwrap(), b"");
        let names = |entries: Vec<ObjectEntry>| -> Vec<(String, u64)> {
            entries.into_iter().map(|entry| (entry.name.as_str().to_owned(), entry.size_bytes)).collect()
        };
        assert_eq!(
            names(store.list("r=".into()).await.unwrap()),
            [("r=1/a".into(), 11), ("r=2/b".into(), 10)]
        );
        assert_eq!(store.list(String::new()).await.unwrap().len(), 3);
    });
}

#[test]
fn a_name_is_taken_once() {
    let (_folder, store) = store();
    let store = Arc::new(store);
    let creators: Vec<_> = (0..16u8)
        .map(|creator| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || block_on(store.put(name("epoch/1"), vec![creator; 100])))
        })
        .collect();
    let results: Vec<_> = creators.into_iter().map(|thread| thread.join().unwrap()).collect();
    let winner = results.iter().position(Result::is_ok).unwrap();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(ColdError::Exists(_)))));
    let bytes = block_on(store.get(name("epoch/1"), 0..100)).unwrap();
    assert_eq!(bytes, vec![u8::try_from(winner).unwrap(); 100]);
}

#[test]
fn errors_say_which_kind() {
    let (_folder, store) = store();
    block_on(async {
        assert_eq!(store.get(name("no"), 0..1).await, Err(ColdError::Missing(name("no"))));
        store.put(name("a"), vec![1]).await.unwrap();
        assert_eq!(store.get(name("a"), 0..2).await, Err(ColdError::OutOfBounds(name("a"))));
        store.delete(name("a")).await.unwrap();
        store.delete(name("a")).await.unwrap();
        assert_eq!(store.get(name("a"), 0..1).await, Err(ColdError::Missing(name("a"))));
        store.put(name("folder/object"), vec![1]).await.unwrap();
        let under_an_object = store.put(name("folder/object/below"), vec![1]).await;
        assert!(
            matches!(under_an_object, Err(ColdError::Failed { retryable: false, .. })),
            "{under_an_object:?}"
        );
    });
}

#[test]
fn unfinished_objects_are_removed_at_open_and_never_seen() {
    let (folder, store) = store();
    let root = folder.path().join("objects");
    fs::write(root.join(".put-3"), b"half").unwrap();
    assert_eq!(block_on(store.list(String::new())).unwrap(), []);
    LocalFolder::open(&root).unwrap();
    assert!(!root.join(".put-3").exists());
}
