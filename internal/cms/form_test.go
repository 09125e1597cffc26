package cms

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"math/big"
	"testing"
)

// What the standard's own ASN.1 package, which takes DER only, sees.
type (
	derContentInfo struct {
		Type    asn1.ObjectIdentifier
		Content derEnvelopedData `asn1:"explicit,tag:0"`
	}
	derEnvelopedData struct {
		Version    int
		Recipients []asn1.RawValue `asn1:"set"`
		Content    derContent
	}
	derContent struct {
		Type      asn1.ObjectIdentifier
		Algorithm struct {
			ID asn1.ObjectIdentifier
			IV []byte
		}
		Ciphertext []byte `asn1:"tag:0"`
	}
	derKeyTransport struct {
		Version   int
		Recipient derIssuerAndSerial
		Algorithm struct {
			ID         asn1.ObjectIdentifier
			Parameters asn1.RawValue
		}
		Key []byte
	}
	derKeyAgreement struct {
		Version    int
		Originator struct {
			Algorithm struct{ ID asn1.ObjectIdentifier }
			Point     asn1.BitString
		} `asn1:"explicit,tag:0"`
		Algorithm struct {
			ID   asn1.ObjectIdentifier
			Wrap struct{ ID asn1.ObjectIdentifier }
		}
		Keys []struct {
			Recipient derIssuerAndSerial
			Key       []byte
		}
	}
	derIssuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
)

func parseObject(t *testing.T, object []byte) derEnvelopedData {
	t.Helper()
	var info derContentInfo
	rest, err := asn1.Unmarshal(object, &info)
	if err != nil || len(rest) > 0 {
		t.Fatalf("not DER: %v, %d octets behind it", err, len(rest))
	}
	if got := info.Type.String(); got != oidEnvelopedData {
		t.Fatalf("content type %s", got)
	}
	return info.Content
}

func TestFormRSA(t *testing.T) {
	p := the(t, "rsa2048")
	env := parseObject(t, encrypt(t, make([]byte, 100), 100, p))
	if env.Version != 0 || len(env.Recipients) != 1 {
		t.Fatalf("version %d, %d recipients", env.Version, len(env.Recipients))
	}
	c := env.Content
	if c.Type.String() != oidData || c.Algorithm.ID.String() != oidAES256CBC ||
		len(c.Algorithm.IV) != 16 || len(c.Ciphertext) != 112 {
		t.Errorf("content %+v", c)
	}
	var ktri derKeyTransport
	if _, err := asn1.Unmarshal(env.Recipients[0].FullBytes, &ktri); err != nil {
		t.Fatal(err)
	}
	if ktri.Version != 0 || ktri.Algorithm.ID.String() != oidRSA || len(ktri.Key) != 256 {
		t.Errorf("key transport %+v", ktri)
	}
	if got := ktri.Algorithm.Parameters.FullBytes; !bytes.Equal(got, []byte{5, 0}) {
		t.Errorf("parameters of RSA are %x, want NULL", got)
	}
	checkName(t, ktri.Recipient, p)
}

// RFC 8418, Section 3.
func TestFormX25519(t *testing.T) {
	for c, wrap := range map[Cipher]string{AES256CBC: oidAES256Wrap, AES128CBC: oidAES128Wrap} {
		p := the(t, "x25519")
		env := parseObject(t, encryptAs(t, c, entity, p))
		kari := parseKeyAgreement(t, env.Recipients[0].FullBytes, oidX25519)
		if env.Version != 2 || kari.Version != 3 || kari.Originator.Algorithm.ID.String() != oidX25519 ||
			len(kari.Originator.Point.Bytes) != 32 || kari.Algorithm.ID.String() != oidECDHHKDFSHA256 ||
			kari.Algorithm.Wrap.ID.String() != wrap || len(kari.Keys) != 1 || len(kari.Keys[0].Key) != c.keySize()+8 {
			t.Errorf("%s: version %d, key agreement %+v", c, env.Version, kari)
		}
		checkName(t, kari.Keys[0].Recipient, p)
	}
}

// RFC 9629, Section 3; RFC 9936, Section 2.2.
func TestFormKEM(t *testing.T) {
	type kemri struct {
		Version    int
		Recipient  derIssuerAndSerial
		KEM        struct{ ID asn1.ObjectIdentifier }
		Ciphertext []byte
		KDF        struct{ ID asn1.ObjectIdentifier }
		Size       int
		Wrap       struct{ ID asn1.ObjectIdentifier }
		Key        []byte
	}
	type other struct {
		Type  asn1.ObjectIdentifier
		Value kemri
	}
	for who, form := range map[string]struct {
		id   string
		size int
	}{"mlkem768": {oidMLKEM768, 1088}, "mlkem1024": {oidMLKEM1024, 1568}} {
		p := the(t, who)
		env := parseObject(t, encryptAs(t, AES128CBC, entity, p))
		var ori other
		if rest, err := asn1.UnmarshalWithParams(env.Recipients[0].FullBytes, &ori, "tag:4"); err != nil || len(rest) > 0 {
			t.Fatal(err)
		}
		k := ori.Value
		if env.Version != 3 || ori.Type.String() != oidKEMRecipient || k.Version != 0 || k.KEM.ID.String() != form.id ||
			len(k.Ciphertext) != form.size || k.KDF.ID.String() != oidHKDFSHA256 || k.Size != 32 ||
			k.Wrap.ID.String() != oidAES256Wrap || len(k.Key) != 24 {
			t.Errorf("%s: version %d, %+v", who, env.Version, k)
		}
		checkName(t, k.Recipient, p)
	}
}

// RFC 4055, Section 4.1: parameters are there, and defaults are not in them.
func TestFormOAEP(t *testing.T) {
	for who, want := range map[string][]byte{
		"rsa-oaep-sha1":   {0x30, 0},
		"rsa-oaep-sha256": oaepParameters(crypto.SHA256),
	} {
		var ktri derKeyTransport
		env := parseObject(t, encryptAs(t, AES256CBC, entity, the(t, who)))
		if _, err := asn1.Unmarshal(env.Recipients[0].FullBytes, &ktri); err != nil {
			t.Fatal(err)
		}
		if ktri.Algorithm.ID.String() != oidOAEP || !bytes.Equal(ktri.Algorithm.Parameters.FullBytes, want) {
			t.Errorf("%s: %s with %x", who, ktri.Algorithm.ID, ktri.Algorithm.Parameters.FullBytes)
		}
	}
}

// RFC 5083, Section 2.1; RFC 5084, Section 3.2.
func TestFormGCM(t *testing.T) {
	type authEnveloped struct {
		Version    int
		Recipients []asn1.RawValue `asn1:"set"`
		Content    struct {
			Type      asn1.ObjectIdentifier
			Algorithm struct {
				ID         asn1.ObjectIdentifier
				Parameters struct {
					Nonce []byte
					Tag   int
				}
			}
			Ciphertext []byte `asn1:"tag:0"`
		}
		MAC []byte
	}
	var info struct {
		Type    asn1.ObjectIdentifier
		Content authEnveloped `asn1:"explicit,tag:0"`
	}
	object := encryptAs(t, AES128GCM, entity, the(t, "rsa2048"), the(t, "mlkem768"))
	if rest, err := asn1.Unmarshal(object, &info); err != nil || len(rest) > 0 {
		t.Fatalf("not DER: %v", err)
	}
	env, how := info.Content, info.Content.Content.Algorithm
	if info.Type.String() != oidAuthEnvelopedData || env.Version != 0 || len(env.Recipients) != 2 ||
		how.ID.String() != oidAES128GCM || len(how.Parameters.Nonce) != 12 || how.Parameters.Tag != 16 ||
		len(env.Content.Ciphertext) != len(entity) || len(env.MAC) != 16 {
		t.Errorf("%s %+v", info.Type, env)
	}
}

func TestFormEC(t *testing.T) {
	for who, scheme := range map[string]string{
		"p256": oidECDHSHA256, "p384": oidECDHSHA384, "p521": oidECDHSHA512,
	} {
		p := the(t, who)
		env := parseObject(t, encrypt(t, nil, 1, p))
		if env.Version != 2 {
			t.Errorf("%s: version %d", who, env.Version)
		}
		kari := parseKeyAgreement(t, env.Recipients[0].FullBytes, oidECPublicKey)
		if kari.Version != 3 || kari.Originator.Algorithm.ID.String() != oidECPublicKey ||
			kari.Algorithm.ID.String() != scheme || kari.Algorithm.Wrap.ID.String() != oidAES256Wrap ||
			len(kari.Keys) != 1 || len(kari.Keys[0].Key) != 40 {
			t.Errorf("%s: key agreement %+v", who, kari)
		}
		checkName(t, kari.Keys[0].Recipient, p)
	}
}

// parseKeyAgreement reads a KeyAgreeRecipientInfo. The implicit [1] of the
// originator's key inside the explicit [0] is more than struct tags can say.
func parseKeyAgreement(t *testing.T, der []byte, keyType string) derKeyAgreement {
	t.Helper()
	start := bytes.Index(der, algorithmID(keyType)) - 2
	if der[start] != 0xa1 { // a longer point, and a length of two octets
		start--
	}
	der = bytes.Clone(der)
	der[start] = 0x30
	var kari derKeyAgreement
	if rest, err := asn1.UnmarshalWithParams(der, &kari, "tag:1"); err != nil || len(rest) > 0 {
		t.Fatalf("key agreement: %v", err)
	}
	return kari
}

func checkName(t *testing.T, got derIssuerAndSerial, p person) {
	t.Helper()
	if !bytes.Equal(got.Issuer.FullBytes, p.cert().RawIssuer) || got.Serial.Cmp(p.cert().SerialNumber) != 0 {
		t.Errorf("recipient is named %x %v", got.Issuer.FullBytes, got.Serial)
	}
}
