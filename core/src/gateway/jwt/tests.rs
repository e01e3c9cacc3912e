use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;

/// When the tokens of the vectors were issued, and a second in the hour that they are valid.
const AT: u64 = 1_700_000_001_000;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const VECTORS: [(JwtAlg, &str, &str); 3] = [
    (JwtAlg::Rs256, include_str!("vectors/rs256.pem"), include_str!("vectors/rs256.jwt")),
    (JwtAlg::Es256, include_str!("vectors/es256.pem"), include_str!("vectors/es256.jwt")),
    (JwtAlg::EdDsa, include_str!("vectors/eddsa.pem"), include_str!("vectors/eddsa.jwt")),
];

fn key(alg: JwtAlg, key: &str) -> JwtKey {
    JwtKey {
        alg,
        key: Secret::new(key),
        issuer: "https://id.example.com".into(),
        audience: "moorline".into(),
        role_claim: "role".into(),
        user_claim: "sub".into(),
    }
}

fn verifier(alg: JwtAlg, text: &str) -> Verifier {
    Verifier::new(&key(alg, text)).expect("a key")
}

fn encode(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn sign(header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

fn hs256(claims: &Value) -> Result<Proved, Refused> {
    let keys = [verifier(JwtAlg::Hs256, SECRET)];
    verify(&keys, &sign(&json!({"alg": "HS256"}), claims), AT)
}

/// Claims that are in order, with some of them replaced; `null` takes one away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://id.example.com", "aud": "moorline", "sub": "ann", "role": "operator",
        "exp": 1_700_003_600,
    });
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => claims.as_object_mut().expect("an object").remove(name),
            value => claims.as_object_mut().expect("an object").insert(name.clone(), value.clone()),
        };
    }
    claims
}

#[test]
fn tokens_of_another_implementation_are_verified() {
    for (alg, pem, token) in VECTORS {
        let keys = [verifier(alg, pem)];
        let proved = verify(&keys, token, AT).expect("a good token");
        assert_eq!((&*proved.user, proved.role), ("ann", Role::Operator));
        assert_eq!(proved.id.as_deref(), Some("t1"));
        assert_eq!(proved.issued, 1_700_000_000_000);
        assert_eq!(proved.expires, 1_700_003_600_000 + LEEWAY_MS);
    }
}

#[test]
fn no_bit_of_a_token_can_be_changed() {
    for (alg, pem, token) in VECTORS {
        let keys = [verifier(alg, pem)];
        for at in 0..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(verify(&keys, &changed, AT).is_err(), "{at}: {changed}");
        }
        assert!(verify(&keys, &format!("{token}A"), AT).is_err());
        assert!(verify(&keys, &token[..token.len() - 1], AT).is_err());
    }
}

/// The oldest trick: a public key is no secret, so it must never verify what a secret would.
#[test]
fn the_key_decides_the_algorithm_and_not_the_token() {
    for (alg, pem, token) in VECTORS {
        let signed =
            format!("{}.{}", encode(&json!({"alg": "HS256"})), encode(&claims(&json!({}))));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, pem.as_bytes()), signed.as_bytes());
        let forged = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac));
        let keys = [verifier(alg, pem)];
        assert_eq!(verify(&keys, &forged, AT), Err(Refused::Signature));
        for other in VECTORS.iter().filter(|(other, ..)| *other != alg) {
            let keys = [verifier(other.0, other.1)];
            assert_eq!(verify(&keys, token, AT), Err(Refused::Signature));
        }
    }
    let keys = [verifier(JwtAlg::Hs256, SECRET)];
    for alg in ["none", "None", "", "hs256", "HS384", "RS256"] {
        let token = sign(&json!({"alg": alg}), &claims(&json!({})));
        assert_eq!(verify(&keys, &token, AT), Err(Refused::Signature), "{alg}");
        let bare = format!("{}.{}.", encode(&json!({"alg": alg})), encode(&claims(&json!({}))));
        assert_eq!(verify(&keys, &bare, AT), Err(Refused::Signature), "{alg}");
    }
    let token = sign(&json!({"alg": "HS256", "crit": ["b64"]}), &claims(&json!({})));
    assert_eq!(verify(&keys, &token, AT), Err(Refused::Malformed));
}

#[test]
fn each_claim_is_looked_at() {
    for (changes, wanted) in [
        (json!({}), None),
        (json!({"aud": ["x", "moorline"]}), None),
        (json!({"role": ["viewer", "operator", "x"]}), None),
        (json!({"exp": 1_700_003_600.5}), None),
        (json!({"iss": null}), Some(Refused::Issuer)),
        (json!({"iss": "https://id.example.com/"}), Some(Refused::Issuer)),
        (json!({"iss": ["https://id.example.com"]}), Some(Refused::Issuer)),
        (json!({"iss": 7}), Some(Refused::Issuer)),
        (json!({"aud": null}), Some(Refused::Audience)),
        (json!({"aud": 7}), Some(Refused::Audience)),
        (json!({"aud": ["moorline", 7]}), Some(Refused::Audience)),
        (json!({"iss": null, "aud": null, "exp": null}), Some(Refused::Audience)),
        (json!({"aud": "moor"}), Some(Refused::Audience)),
        (json!({"aud": []}), Some(Refused::Audience)),
        (json!({"exp": null}), Some(Refused::Claims)),
        (json!({"exp": "1700003600"}), Some(Refused::Claims)),
        (json!({"exp": -1}), Some(Refused::Claims)),
        (json!({"exp": 0}), Some(Refused::Expired)),
        (json!({"nbf": "soon"}), Some(Refused::Claims)),
        (json!({"sub": null}), Some(Refused::Claims)),
        (json!({"sub": ""}), Some(Refused::Claims)),
        (json!({"sub": 7}), Some(Refused::Claims)),
        (json!({"sub": "a\nb"}), Some(Refused::Claims)),
        (json!({"sub": "x".repeat(256)}), Some(Refused::Claims)),
        (json!({"role": null}), Some(Refused::Claims)),
        (json!({"role": "owner"}), Some(Refused::Claims)),
        (json!({"role": "Admin"}), Some(Refused::Claims)),
        (json!({"role": ["owner", 1]}), Some(Refused::Claims)),
        (json!({"jti": 7}), Some(Refused::Claims)),
        (json!({"jti": "x".repeat(256)}), Some(Refused::Claims)),
    ] {
        assert_eq!(hs256(&claims(&changes)).err(), wanted, "{changes}");
    }
    assert_eq!(hs256(&json!([])), Err(Refused::Malformed));
    assert_eq!(hs256(&claims(&json!({}))).map(|proved| proved.issued), Ok(0));
}

/// Two readers of one text must not see different claims in it.
#[test]
fn a_claim_that_is_there_twice_proves_nothing() {
    let text = claims(&json!({})).to_string().replacen('{', "{\"exp\":1,", 1);
    let signed =
        format!("{}.{}", encode(&json!({"alg": "HS256"})), BASE64_URL_SAFE_NO_PAD.encode(text));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), signed.as_bytes());
    let token = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag));
    assert_eq!(verify(&[verifier(JwtAlg::Hs256, SECRET)], &token, AT), Err(Refused::Malformed));
}

#[test]
fn the_leeway_is_exact_at_both_ends() {
    let second = AT / 1000;
    let leeway = LEEWAY_MS / 1000;
    for (changes, wanted) in [
        (json!({"exp": second - leeway + 1}), None),
        (json!({"exp": second - leeway}), Some(Refused::Expired)),
        (json!({"nbf": second + leeway}), None),
        (json!({"nbf": second + leeway + 1}), Some(Refused::NotYet)),
        (json!({"iat": second + leeway}), None),
        (json!({"iat": second + leeway + 1}), Some(Refused::NotYet)),
        (json!({"exp": 1e300}), None),
    ] {
        assert_eq!(hs256(&claims(&changes)).err(), wanted, "{changes}");
    }
}

#[test]
fn one_of_several_keys_is_enough_and_names_itself() {
    let (_, pem, token) = VECTORS[1];
    let elsewhere = JwtKey { issuer: "https://else.example".into(), ..key(JwtAlg::Es256, pem) };
    let keys = [
        verifier(JwtAlg::Hs256, SECRET),
        Verifier::new(&elsewhere).expect("a key"),
        verifier(JwtAlg::Es256, pem),
    ];
    assert_eq!(verify(&keys, token, AT).map(|proved| proved.key), Ok(keys[2].id));
    assert_eq!(verify(&keys[..2], token, AT), Err(Refused::Issuer));
    assert_eq!(JwtKeyId::parse(&keys[2].id.to_string()), Some(keys[2].id));
}

#[test]
fn keys_that_can_verify_nothing_are_told() {
    let pem = |text: &str| {
        let body = text.replace('=', "");
        body.replacen("MF", "MG", 1)
    };
    for (alg, text, wanted) in [
        (JwtAlg::Hs256, &SECRET[1..], JwtKeyError::ShortSecret),
        (JwtAlg::Rs256, SECRET, JwtKeyError::NotPublic),
        (JwtAlg::Rs256, VECTORS[1].1, JwtKeyError::OtherAlgorithm),
        (JwtAlg::Es256, VECTORS[2].1, JwtKeyError::OtherAlgorithm),
        (JwtAlg::EdDsa, VECTORS[0].1, JwtKeyError::OtherAlgorithm),
        (JwtAlg::Rs256, include_str!("vectors/rsa1024.pem"), JwtKeyError::Size),
        (JwtAlg::Es256, include_str!("vectors/p384.pem"), JwtKeyError::OtherAlgorithm),
        (JwtAlg::Es256, &pem(VECTORS[1].1), JwtKeyError::NotPublic),
        (JwtAlg::EdDsa, &VECTORS[2].1[..60], JwtKeyError::NotPublic),
    ] {
        assert_eq!(key(alg, text).check(), Err(wanted), "{text}");
    }
    let nameless = JwtKey { audience: String::new(), ..key(JwtAlg::Hs256, SECRET) };
    assert_eq!(nameless.check(), Err(JwtKeyError::Empty));
    // No prefix of a key is one, and none makes the parser panic.
    for (_, text, _) in VECTORS {
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        for end in (0..body.len()).step_by(4) {
            let pem = format!("-----BEGIN PUBLIC KEY-----{}-----END PUBLIC KEY-----", &body[..end]);
            assert_eq!(PublicKey::parse(&pem), Err(JwtKeyError::NotPublic), "{end}");
        }
    }
}
