package smimea

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"

	"smimea.example/internal/cms"
)

// Certificate usages (RFC 6698, Section 2.1.1; names of RFC 7218).
const (
	PKIXTA uint8 = 0
	PKIXEE uint8 = 1
	DANETA uint8 = 2
	DANEEE uint8 = 3
)

// Selectors (RFC 6698, Section 2.1.2).
const (
	Cert uint8 = 0
	SPKI uint8 = 1
)

// Matching types (RFC 6698, Section 2.1.3).
const (
	Full   uint8 = 0
	SHA256 uint8 = 1
	SHA512 uint8 = 2
)

// A Record is the data of an SMIMEA record (RFC 8162, Section 2).
type Record struct {
	Usage, Selector, Matching uint8
	Data                      []byte // certificate, key or digest
}

// ParseRecord reads RDATA in wire form. Data is a part of it, not a copy.
// That the numbers are known and the data fits them is for [Certify] to say. A
// record without data is an error, beside which stand the numbers it has.
func ParseRecord(rdata []byte) (Record, error) {
	if len(rdata) < 4 {
		var numbers [3]uint8
		copy(numbers[:], rdata)
		return Record{numbers[0], numbers[1], numbers[2], nil}, errors.New("smimea: record without data")
	}
	return Record{rdata[0], rdata[1], rdata[2], rdata[3:]}, nil
}

// RDATA returns the record in wire form.
func (r Record) RDATA() []byte {
	return append([]byte{r.Usage, r.Selector, r.Matching}, r.Data...)
}

// String returns the record's RDATA in presentation form, "3 0 0 3082…".
func (r Record) String() string {
	return fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data)
}

// ZoneLine returns the record as a line for a zone file, without a line end.
// The owner is a name as [OwnerName] makes it, ttl is in seconds.
func (r Record) ZoneLine(owner string, ttl uint32) string {
	return fmt.Sprintf("%s %d IN SMIMEA %s", owner, ttl, r)
}

// GenericLine is ZoneLine for name servers that do not know the type: it has
// TYPE53 and the RDATA in hex (RFC 3597, Section 5).
func (r Record) GenericLine(owner string, ttl uint32) string {
	rdata := r.RDATA()
	return fmt.Sprintf(`%s %d IN TYPE53 \# %d %s`, owner, ttl, len(rdata), hex.EncodeToString(rdata))
}

// Certificate returns the whole certificate, in DER, that the record holds;
// nil if it holds none.
func (r Record) Certificate() []byte {
	if r.Selector != Cert || r.Matching != Full || r.check() != nil {
		return nil
	}
	return r.Data
}

// Matches says whether the record is about the certificate with this DER
// (RFC 6698, Section 2.1). It says nothing of what follows from it.
func (r Record) Matches(der []byte) bool {
	selected := cms.SubjectPublicKeyInfo(der)
	if selected == nil || r.check() != nil {
		return false
	}
	if r.Selector == Cert {
		selected = der
	}
	switch r.Matching {
	case SHA256:
		sum := sha256.Sum256(selected)
		return string(sum[:]) == string(r.Data)
	case SHA512:
		sum := sha512.Sum512(selected)
		return string(sum[:]) == string(r.Data)
	}
	return string(selected) == string(r.Data)
}

// check says what is wrong with a record that must be ignored (RFC 6698,
// Section 4.1: unknown values, malformed data).
func (r Record) check() error {
	switch {
	case r.Usage > DANEEE:
		return fmt.Errorf("certificate usage %d is not known", r.Usage)
	case r.Selector > SPKI:
		return fmt.Errorf("selector %d is not known", r.Selector)
	case r.Matching > SHA512:
		return fmt.Errorf("matching type %d is not known", r.Matching)
	}
	return r.checkData()
}

func (r Record) checkData() error {
	switch {
	case r.Matching == SHA256 && len(r.Data) != sha256.Size:
		return fmt.Errorf("SHA-256 of %d octets", len(r.Data))
	case r.Matching == SHA512 && len(r.Data) != sha512.Size:
		return fmt.Errorf("SHA-512 of %d octets", len(r.Data))
	case r.Matching != Full:
		return nil
	case r.Selector == SPKI && !cms.IsSubjectPublicKeyInfo(r.Data):
		return errors.New("the data is not a public key")
	case r.Selector == Cert && !cms.IsCertificate(r.Data):
		return errors.New("the data is not a certificate")
	}
	return nil
}
