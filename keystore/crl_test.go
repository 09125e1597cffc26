package keystore

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCRLFaults(t *testing.T) {
	ca := newAuthority(t, "CA", nil)
	stranger := newAuthority(t, "Stranger", nil)
	impostor := newAuthority(t, "CA", nil)
	mute := newAuthority(t, "Mute", nil)
	muted := &authority{newAuthority(t, "Mute", nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }).Certificate, mute.key}
	good := ca.crl(t, revocation{serials: []int64{7}})
	unknown := asn1.ObjectIdentifier{1, 2, 3, 4}
	for _, test := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"nothing", nil, "holds no CRL"},
		{"noise", []byte("hello"), "holds no CRL"},
		{"a certificate", ca.Raw, "holds a certificate, not a CRL"},
		{"a certificate in PEM", pemOf(ca.Raw), "holds a certificate, not a CRL"},
		{"cut off", good[:len(good)-1], "holds no CRL"},
		{"PEM, cut off", pemCRL(good)[:100], "cut off or damaged"},
		{"something behind it", append(good[:len(good):len(good)], 0), "something behind"},
		{"two lists", twoLists(t, good), "holds no CRL"},
		{"version 1", changeCRL(t, good, func(l *tbsCRL) { l.Version, l.Extensions = 0, nil }), "version 2"},
		{"no nextUpdate", changeCRL(t, good, func(l *tbsCRL) { l.NextUpdate = time.Time{} }), "nextUpdate"},
		{"changed", changeCRL(t, good, func(l *tbsCRL) { l.Revoked = nil }), `not signed by any of the 1 CAs called "CN=CA"`},
		{"a stranger's", stranger.crl(t, revocation{}), `issued by "CN=Stranger", and no CA of that name is known`},
		{"an impostor's", impostor.crl(t, revocation{}), "add the certificate of the CA's other key"},
		{"a CA that signs no CRLs", mute.crl(t, revocation{}), "not signed"},
		{"delta", ca.crl(t, revocation{extensions: critical(oidDeltaCRLIndicator, 2, 1, 1)}), "delta CRL"},
		{"indirect", ca.crl(t, revocation{extensions: critical(oidIssuingDistributionPoint, 0x30, 3, 0x84, 1, 0xff)}), "indirect CRL"},
		{"indirect, not critical", ca.crl(t, revocation{extensions: []pkix.Extension{{Id: oidIssuingDistributionPoint, Value: []byte{0x30, 3, 0x84, 1, 0xff}}}}), "indirect CRL"},
		{"indirect, entry by entry", ca.crl(t, revocation{serials: []int64{7}, ofEntries: critical(oidCertificateIssuer, 0x30, 0)}), "indirect CRL"},
		{"a distribution point that is none", ca.crl(t, revocation{extensions: critical(oidIssuingDistributionPoint, 4, 0)}), "indirect CRL"},
		{"a distribution point that lies", ca.crl(t, revocation{extensions: critical(oidIssuingDistributionPoint, 0x30, 2, 0x81, 9)}), "indirect CRL"},
		{"unknown and critical", ca.crl(t, revocation{extensions: critical(unknown)}), "1.2.3.4"},
		{"an entry unknown and critical", ca.crl(t, revocation{serials: []int64{7}, ofEntries: critical(unknown)}), "1.2.3.4"},
	} {
		path := directory(t, map[string][]byte{"x.crl": test.content})
		err := faultsOf(t, path, ca, muted)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), filepath.Join(path, "x.crl")) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if _, err := OpenCRLs(filepath.Join(t.TempDir(), "missing"), nil); !os.IsNotExist(err) {
		t.Errorf("no directory: %v", err)
	}
}

// A tbsCRL is the signed part of a CRL (RFC 5280, Section 5.1).
type tbsCRL struct {
	Version    int `asn1:"optional,default:0"`
	Signature  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	ThisUpdate time.Time
	NextUpdate time.Time        `asn1:"optional"`
	Revoked    []asn1.RawValue  `asn1:"optional"`
	Extensions []pkix.Extension `asn1:"optional,explicit,tag:0"`
}

// A list that is signed, and cannot be read.
func TestReadEntries(t *testing.T) {
	entry := func(content string) string { return string(rune(0x30)) + string(rune(len(content))) + content }
	const number, date, extensions = "\x02\x01\x07", "\x17\x0d260501120000Z", "\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01\x06"
	for _, test := range []struct {
		name, entries string
		want          int // how many; -1: it cannot be read
	}{
		{"none", "", 0},
		{"one", entry(number + date), 1},
		{"two", entry(number+date) + entry("\x02\x02\x01\x00"+"\x18\x0f20260501120000Z"), 2},
		{"with a reason", entry(number + date + extensions), 1},
		{"a number alone", number, -1},
		{"no date", entry(number), -1},
		{"no number", entry(date), -1},
		{"a number with zeros before it", entry("\x02\x02\x00\x07" + date), -1},
		{"another kind of date", entry(number + "\x04\x01x"), -1},
		{"something behind", entry(number + date + extensions + number), -1},
		{"an extension that is none", entry(number + date + "\x30\x02\x04\x00"), -1},
		{"cut off", entry(number + date)[:9], -1},
	} {
		var l crl
		err := l.read([]byte(test.entries))
		if (err != nil) != (test.want < 0) || err == nil && (l.Revoked != test.want || len(l.revoked) != test.want) {
			t.Errorf("%s: %d entries, %v, want %d", test.name, l.Revoked, err, test.want)
		}
	}
}

// changeCRL changes a CRL, whose signature does not hold any longer then.
func changeCRL(t *testing.T, der []byte, change func(*tbsCRL)) []byte {
	t.Helper()
	var l struct {
		TBS       tbsCRL
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &l); err != nil {
		t.Fatal(err)
	}
	change(&l.TBS)
	changed, err := asn1.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// twoLists makes a CRL with two lists, of which one might be looked at and the
// other one signed.
func twoLists(t *testing.T, der []byte) []byte {
	t.Helper()
	parsed, entries, err := parseCRL(der)
	if err != nil {
		t.Fatal(err)
	}
	list, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: entries})
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(parsed.RawTBSRevocationList, list)
	tbs := parsed.RawTBSRevocationList[4:]
	if parsed.RawTBSRevocationList[1] != 0x81 && parsed.RawTBSRevocationList[1] != 0x82 || i < 0 {
		t.Fatal("the test looks in the wrong place")
	}
	if parsed.RawTBSRevocationList[1] == 0x81 {
		tbs = parsed.RawTBSRevocationList[3:]
	}
	at := i - (len(parsed.RawTBSRevocationList) - len(tbs))
	doubled := append(append(append([]byte{}, tbs[:at]...), list...), tbs[at:]...)
	signed, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: doubled})
	if err != nil {
		t.Fatal(err)
	}
	rest := der[bytes.Index(der, parsed.RawTBSRevocationList)+len(parsed.RawTBSRevocationList):]
	whole, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append(signed, rest...)})
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

func TestNameKey(t *testing.T) {
	of := func(kind asn1.ObjectIdentifier, tag int, value string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: kind, Value: asn1.RawValue{Tag: tag, Bytes: []byte(value)}}
	}
	cn, o := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}
	key := func(rdns ...pkix.RelativeDistinguishedNameSET) string {
		der, err := asn1.Marshal(pkix.RDNSequence(rdns))
		if err != nil {
			t.Fatal(err)
		}
		return nameKey(der)
	}
	want := key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "My CA")})
	for _, test := range []struct {
		name string
		key  string
		same bool
	}{
		{"UTF8String", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagUTF8String, "My CA")}), true},
		{"T61String", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagT61String, "My CA")}), true},
		{"BMPString", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagBMPString, "\x00M\x00y\x00 \x00C\x00A")}), true},
		{"case", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "MY ca")}), true},
		{"blanks", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, " My  CA ")}), true},
		{"another word", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "My CB")}), false},
		{"one word", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "MyCA")}), false},
		{"another attribute", key(pkix.RelativeDistinguishedNameSET{of(o, asn1.TagPrintableString, "My CA")}), false},
		{"no string", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagOctetString, "My CA")}), false},
		{"one more", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "My CA")},
			pkix.RelativeDistinguishedNameSET{of(o, asn1.TagPrintableString, "X")}), false},
	} {
		if got := test.key == want; got != test.same {
			t.Errorf("%s: the same: %v", test.name, got)
		}
	}
	// The order within a part is that of the octets, which differ.
	if key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "ab"), of(o, asn1.TagPrintableString, "b")}) !=
		key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "ab"), of(o, asn1.TagBMPString, "\x00b")}) {
		t.Error("another kind of string changes the order")
	}
	together := key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "a"), of(o, asn1.TagPrintableString, "b")})
	apart := key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "a")}, pkix.RelativeDistinguishedNameSET{of(o, asn1.TagPrintableString, "b")})
	if together == apart {
		t.Error("two attributes of one part are the same as two parts")
	}
	if nameKey([]byte("x")) != "x" || nameKey(nil) != "" {
		t.Error("what cannot be read equals something else")
	}
}

func FuzzReadCRLs(f *testing.F) {
	ca := newAuthority(f, "CA", nil)
	known := signersOf(certificatesOf([]*authority{ca}))
	for _, r := range []revocation{{}, {serials: []int64{7, 1 << 40}, reason: 1}, {extensions: onlyUsers()},
		{serials: []int64{7}, ofEntries: critical(oidCertificateIssuer, 0x30, 0)}} {
		f.Add(ca.crl(f, r))
		f.Add(pemCRL(ca.crl(f, r)))
	}
	f.Add(ca.Raw)
	f.Fuzz(func(t *testing.T, content []byte) {
		all, err := readCRLs(content, known)
		if err == nil && len(all) == 0 {
			t.Error("neither a CRL nor an error")
		}
		for _, l := range all {
			if l.issuer != nameKey(ca.RawSubject) || l.NextUpdate.IsZero() {
				t.Errorf("%+v is believed", l.CRL)
			}
		}
		// What is no genuine CRL is read all the same, and as crypto/x509 does.
		parsed, entries, err := parseCRL(content)
		if err != nil {
			return
		}
		acceptable(parsed)
		var l crl
		if l.read(entries) != nil {
			return
		}
		whole, err := x509.ParseRevocationList(content)
		if err != nil {
			return
		}
		if len(whole.RevokedCertificateEntries) != l.Revoked || !bytes.Equal(whole.RawTBSRevocationList, parsed.RawTBSRevocationList) ||
			!whole.NextUpdate.Equal(parsed.NextUpdate) || !bytes.Equal(whole.RawIssuer, parsed.RawIssuer) {
			t.Errorf("%d entries, want %d", l.Revoked, len(whole.RevokedCertificateEntries))
		}
		for _, entry := range whole.RevokedCertificateEntries {
			if _, ok := l.revoked[serialKey(entry.SerialNumber)]; !ok {
				t.Errorf("number %v is missing", entry.SerialNumber)
			}
		}
	})
}

// What is read of a certificate here is what crypto/x509 reads of it.
func FuzzIssuerAndSerial(f *testing.F) {
	f.Add(newAuthority(f, "CA", nil).Raw)
	f.Add(cert{emails: []string{alice}}.der(f))
	f.Fuzz(func(t *testing.T, der []byte) {
		issuer, number, ok := issuerAndSerial(der)
		nameKey(issuer)
		parsed, err := x509.ParseCertificate(der)
		if err == nil && (!ok || string(issuer) != string(parsed.RawIssuer) || number != serialKey(parsed.SerialNumber)) {
			t.Errorf("%x, %x, %v", issuer, number, ok)
		}
	})
}
