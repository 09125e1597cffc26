package dnssec_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"smimea.example/smimea/dnssec"
)

// A validator asks the resolver of the machine, and believes what the root's
// keys prove. The switch is how its answers should be read: there is no way to
// take "could not find out" for "there is none".
func Example() {
	servers, err := dnssec.SystemServers()
	if err != nil {
		log.Fatal(err)
	}
	v, err := dnssec.New(dnssec.Options{Servers: servers})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()

	a := v.Lookup(context.Background(), "example.org", dnssec.TypeMX)
	switch {
	case a.Status == dnssec.Secure && a.Outcome == dnssec.Data:
		for _, rdata := range a.Data {
			fmt.Println("proven:", dnssec.Present(dnssec.TypeMX, rdata))
		}
	case a.Status == dnssec.Secure:
		fmt.Println("it is proven that there is none:", a.Outcome)
	case a.Status == dnssec.Insecure:
		fmt.Println("it is proven that the zone is not signed:", a.Why)
	case a.Status == dnssec.Bogus:
		fmt.Println("forged or broken:", a.Why)
	default:
		fmt.Println("could not find out:", a.Why)
	}
}

// What proves an answer can be kept, and judged by somebody else, who needs the
// trust anchor and no network. The file was made by "smimea resolve --evidence"
// in a small Internet of its own, with a root of its own.
func ExampleNewReplay() {
	f, err := os.Open("testdata/example.evidence")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	e, err := dnssec.ReadEvidence(f)
	if err != nil {
		log.Fatal(err)
	}
	anchors, err := dnssec.ParseAnchors(strings.NewReader(
		". IN DS 51047 13 2 A14EED3CC33602E7B4B4B8C1CED89A45A116E487457D0A4E08C8B8CA905FE716"))
	if err != nil {
		log.Fatal(err)
	}

	judge := func(now time.Time) {
		v, err := dnssec.NewReplay(dnssec.Options{Anchors: anchors, Now: func() time.Time { return now }}, e.Messages)
		if err != nil {
			log.Fatal(err)
		}
		defer v.Close()
		a := v.Lookup(context.Background(), e.Question.Name, e.Question.Type)
		fmt.Println(e.Question.Name, dnssec.TypeName(e.Question.Type), "is", a.Status)
		for _, rdata := range a.Data {
			fmt.Println("  ", dnssec.Present(e.Question.Type, rdata))
		}
		for _, l := range a.Chain {
			fmt.Println("  ", l.Kind, l.Name, l.Status, l.Note)
		}
	}
	judge(e.Time)
	judge(e.Time.AddDate(1, 0, 0))
	// Output:
	// example.org. MX is secure
	//    10 mail.example.org.
	//    zone . secure anchor 51047 → key 51047, algorithm 13
	//    zone org. secure DS 38847 → key 38847, algorithm 13
	//    zone example.org. secure DS 30983 → key 30983, algorithm 13
	// example.org. MX is bogus
	//    zone . bogus no key that the anchor matches has signed the keys
}
