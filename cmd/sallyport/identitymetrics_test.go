package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestEndsInMetricsStandOnce(t *testing.T) {
	authority := func(until time.Time) artefact {
		return artefact{Kind: kindAuthority, Name: "1f2e", Since: aDay.Add(-time.Hour), Until: until}
	}
	got := endsOf([]artefact{
		{Kind: kindSecret, Name: "secret/saml"}, // which has no end
		authority(aDay.Add(time.Hour)),
		authority(aDay.Add(time.Minute)), // of the other mount
		authority(aDay.Add(2 * time.Hour)),
		{Kind: kindCertificate, Name: "1f2e", Since: aDay.Add(-time.Hour), Until: aDay.Add(time.Hour), Renews: true},
		{Kind: kindIdPMetadata, Name: "https://idp.example.org", Since: aDay.Add(-time.Hour), Until: aDay},
	}, aDay)
	want := map[kindAndName]end{
		{kindAuthority, "1f2e"}:                      {aDay.Add(time.Minute), levelTenth},
		{kindCertificate, "1f2e"}:                    {aDay.Add(time.Hour), levelFine},
		{kindIdPMetadata, "https://idp.example.org"}: {aDay, levelOver},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(end{}, kindAndName{}), cmpopts.EquateComparable(kindAndName{})); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
}
