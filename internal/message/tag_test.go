package message

import "testing"

func TestWithoutTag(t *testing.T) {
	for _, test := range []struct {
		name, value, want string
		ok                bool
	}{
		{"at the beginning", " [plain] hello", " hello", true},
		{"at the end", " hello [plain]", " hello ", true},
		{"twice", " [plain] [Plain] hello", " hello", true},
		{"alone", " [plain]", " ", true},
		{"not there", " plain hello", "", false},
		{"cut in two by a fold", " [pl\r\n ain] hello", "", false},
		{"beside encoded words, which stay", " [plain] =?ISO-2022-JP?B?GyRCJDMkcyRLJEEkTxsoQg==?=", " =?ISO-2022-JP?B?GyRCJDMkcyRLJEEkTxsoQg==?=", true},
		{"in an encoded word", " =?utf-8?Q?=5Bplain=5D_gr=C3=BC=C3=9Fe?=", " =?utf-8?b?Z3LDvMOfZQ==?=", true},
		{"in an unknown charset", " =?x-nobody?B?W3BsYWluXQ==?=", "", false},
	} {
		got, ok := Field{Name: "Subject", Value: test.value}.WithoutTag("[plain]")
		if ok != test.ok || ok && got != test.want {
			t.Errorf("%s: %q, %v, want %q, %v", test.name, got, ok, test.want, test.ok)
		}
	}
}

func TestBeginsWithTag(t *testing.T) {
	for value, want := range map[string]bool{
		" [Plain] hello":     true,
		"[plain]":            true,
		"\r\n [plain] hello": true,
		" =?utf-8?Q?=5Bplain=5D_gr=C3=BC=C3=9Fe?=": true,
		" Re: [plain] hello":                       false,
		" =?utf-8?Q?Re:_=5Bplain=5D?=":             false,
		"":                                         false,
	} {
		if got := (Field{Name: "Subject", Value: value}).BeginsWithTag("[plain]"); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func FuzzWithoutTag(f *testing.F) {
	f.Add(" [plain] hello", "[plain]")
	f.Add(" =?ISO-2022-JP?B?W3BsYWluXSAbJEIkMyRzJEskQSRPGyhC?=", "[PLAIN]")
	f.Fuzz(func(t *testing.T, value, tag string) {
		got, ok := Field{Name: "Subject", Value: value}.WithoutTag(tag)
		if !ok {
			return
		}
		if _, again := (Field{Name: "Subject", Value: got}).WithoutTag(tag); again {
			t.Errorf("%q: the tag is still in %q", value, got)
		}
	})
}
