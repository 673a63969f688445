//! What ranks tell each other, over threads.

use super::Ranks;
use super::threads::on_threads;
use crate::TrainError;

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
    let made = |result: fn() -> Result<Vec<u8>, TrainError>| {
        on_threads(2, move |ranks| {
            let made = ranks.broadcast(|| {
                assert!(ranks.is_first());
                result()
            });
            made.map_err(|error| error.to_string())
        })
    };
    assert_eq!(made(|| Ok(vec![7, 8])), [Ok(vec![7, 8]), Ok(vec![7, 8])]);
    let failed = made(|| Err(TrainError::Setup("no disk".to_owned())));
    assert_eq!(failed[0], Err("no disk".to_owned()));
    let of_other = "rank 0 on thread 0 stopped: no disk".to_owned();
    assert_eq!(failed[1], Err(of_other));
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
    assert_eq!(alone.broadcast(|| Ok(vec![1])).unwrap(), [1]);
}
