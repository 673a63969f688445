//! What ranks tell each other, over threads.

use crate::threads::on_threads;
use crate::{Ranks, RanksError};

#[test]
fn every_rank_gathers_what_all_have_by_rank() {
    let found = on_threads(3, |ranks| {
        let own = vec![ranks.rank() as f32 + 0.5; ranks.rank()];
        let floats = ranks.gather_floats(own).unwrap();
        let names = ranks.gather(format!("r{}", ranks.rank())).unwrap();
        (floats, names, ranks.any(ranks.rank() == 1).unwrap())
    });
    for (floats, names, any) in found {
        assert_eq!(floats, [vec![], vec![1.5], vec![2.5, 2.5]]);
        assert_eq!(names, ["r0", "r1", "r2"]);
        assert!(any);
    }
}

#[test]
fn messages_of_any_length_arrive_whole() {
    let long = 2 * super::MESSAGE_BYTES + 5;
    let found = on_threads(2, |ranks| {
        let own: Vec<u8> = (0..long * ranks.rank()).map(|i| (i % 251) as u8).collect();
        ranks.gather_bytes(&own).unwrap()
    });
    for all in found {
        assert_eq!((all[0].len(), all[1].len()), (0, long));
        assert!(
            all[1]
                .iter()
                .enumerate()
                .all(|(i, &x)| x == (i % 251) as u8)
        );
    }
}

#[test]
fn sums_are_taken_in_the_order_of_the_ranks() {
    // In another order the small numbers would be lost, or kept.
    let terms = [1e8f32, -1e8, 3.0];
    let len = super::MESSAGE_BYTES / 4 + 3;
    let found = on_threads(3, |ranks| {
        let mut numbers = vec![terms[ranks.rank()]; len];
        ranks.sum(&mut numbers).unwrap();
        numbers
    });
    for numbers in found {
        assert!(numbers.len() == len && numbers.iter().all(|&x| x == 3.0));
    }
}

#[test]
fn the_first_rank_alone_makes_what_all_get_or_all_fail() {
    let made = |result: fn() -> Result<Vec<u8>, RanksError>| {
        on_threads(2, move |ranks| {
            let made = ranks.broadcast(|| {
                assert!(ranks.is_first());
                result()
            });
            made.map_err(|error| error.to_string())
        })
    };
    assert_eq!(made(|| Ok(vec![7, 8])), [Ok(vec![7, 8]), Ok(vec![7, 8])]);
    let failed = made(|| Err(RanksError("no disk".to_owned())));
    assert_eq!(failed[0], Err("no disk".to_owned()));
    let of_other = "rank 0 on thread 0 stopped: no disk".to_owned();
    assert_eq!(failed[1], Err(of_other));
}

#[test]
fn rows_and_lists_of_parts_are_those_of_one_process() {
    // A row of each length, and bits that text would lose.
    let row =
        |index: usize| -> Vec<f32> { vec![f32::from_bits(0x7fc0_0001 + index as u32); index] };
    let bits = |rows: Vec<Vec<f32>>| -> Vec<Vec<u32>> {
        let bits = |row: Vec<f32>| row.into_iter().map(f32::to_bits).collect();
        rows.into_iter().map(bits).collect()
    };
    for count in [0, 1, 3, 7] {
        let expected = bits((0..count).map(row).collect());
        for ranks in [1, 2, 4] {
            let found = on_threads(ranks, |ranks| {
                let rows = ranks.rows::<RanksError>(count, |part| Ok(part.map(row).collect()));
                let own: Vec<usize> = ranks.range(count).collect();
                (bits(rows.unwrap()), ranks.join::<_, RanksError>(Ok(own)))
            });
            for (rows, list) in found {
                assert_eq!(rows, expected);
                assert_eq!(list.unwrap(), (0..count).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn a_part_that_fails_fails_on_every_rank() {
    let failed = |rank: usize| match rank {
        1 => Err(RanksError("no picture".to_owned())),
        _ => Ok(vec![vec![1.0f32]]),
    };
    let told = on_threads(3, |ranks| {
        let rows = ranks.rows(3, |_| failed(ranks.rank())).unwrap_err();
        let list = ranks.join(failed(ranks.rank())).unwrap_err();
        let first = ranks.first(|| failed(1).map(|_| ())).unwrap_err();
        [rows, list, first].map(|error| error.to_string())
    });
    let (own, of_one) = ("no picture", "rank 1 on thread 1 stopped: no picture");
    let of_first = "rank 0 on thread 0 stopped: no picture";
    assert_eq!(told[0], [of_one, of_one, own]);
    assert_eq!(told[1], [own, own, of_first]);
    assert_eq!(told[2], [of_one, of_one, of_first]);
}

#[test]
fn ranks_that_differ_are_all_named_with_their_hosts() {
    let told = on_threads(2, |ranks| {
        let own = ["aaaa", "bbbb"][ranks.rank()];
        ranks.same("recipe", own).unwrap_err().to_string()
    });
    let expected = "the ranks do not have the same recipe: rank 0 on thread 0 has aaaa, rank 1 on thread 1 has bbbb";
    assert_eq!(told, [expected, expected]);
    let equal = on_threads(2, |ranks| ranks.same("recipe", "aaaa").is_ok());
    assert_eq!(equal, [true, true]);
}

#[test]
fn a_rank_that_is_gone_fails_the_others() {
    let told = on_threads(3, |ranks| match ranks.rank() {
        1 => String::new(),
        _ => ranks.any(true).unwrap_err().to_string(),
    });
    assert_eq!(told, ["rank 1 is gone", "", "rank 1 is gone"]);
}

#[test]
fn parts_are_one_behind_the_other_and_a_process_alone_has_all() {
    let all: Vec<usize> = (0..7).collect();
    let parts = on_threads(3, |ranks| ranks.part(&all).to_vec());
    assert_eq!(parts.concat(), all);
    let alone = Ranks::alone();
    assert_eq!((alone.part(&all), alone.is_first()), (&all[..], true));
    assert_eq!(alone.broadcast::<RanksError>(|| Ok(vec![1])).unwrap(), [1]);
}
