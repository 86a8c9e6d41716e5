use super::*;

#[test]
fn what_is_too_large_for_the_message_goes_outside_page_by_page() {
    let folder = Path::new("/folder");
    let mut placement = Placement { max_inline: 10_000, ..Placement::new(folder, "m.data") };
    let tensor = |byte: u8, len: usize| {
        Tensor::from_bytes(crate::DType::U8, &[len], Bytes::from(vec![byte; len])).unwrap()
    };
    let (first, second, third, small) = (tensor(1, 8000), tensor(2, 5000), tensor(3, 3000), tensor(4, 100));
    let mut place = |tensor: &Tensor| placement.place(tensor).map(|l| (l.file, l.offset, l.len));
    assert_eq!(place(&first), None);
    assert_eq!(place(&second), Some(("m.data".to_owned(), 0, 5000)));
    assert_eq!(place(&third), Some(("m.data".to_owned(), 8192, 3000)));
    assert_eq!(place(&small), None);
    // The same content is written once.
    assert_eq!(place(&second.clone()), Some(("m.data".to_owned(), 0, 5000)));

    let mut file = Vec::new();
    placement.write(&mut file).unwrap();
    assert_eq!(file.len(), 8192 + 3000);
    assert_eq!((&file[..5000], &file[8192..]), (&[2; 5000][..], &[3; 3000][..]));
    assert!(file[5000..8192].iter().all(|&b| b == 0));
}
