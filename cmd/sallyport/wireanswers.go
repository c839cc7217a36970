package main

import (
	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
)

// answersOf translates what becomes of a route's answers.
func answersOf(a config.Answers) proxy.Answers {
	answers := proxy.Answers{
		FrameOrigins: originTexts(a.FrameOrigins), Remove: a.RemoveHeaders, Origins: originTexts(a.RewriteLocation), UnsafeCookieDomain: a.UnsafeCookieDomain,
	}
	switch a.Frames {
	case "nobody":
		answers.Frames = proxy.FramesNobody
	case "tool":
		answers.Frames = proxy.FramesTool
	}
	for _, line := range a.SetHeaders {
		answers.Set = append(answers.Set, proxy.HeaderLine{Name: line.Name, Value: line.Value})
	}
	return answers
}

func originTexts(list []config.Origin) []string {
	var texts []string
	for _, o := range list {
		texts = append(texts, o.String())
	}
	return texts
}
