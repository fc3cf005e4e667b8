package main

import (
	"fmt"
	"strings"
	"time"

	"secmsg/rpc/local"
)

// callText describes a call event. For a ringing call it adds the command to answer it.
func callText(c *local.Call) string {
	var s string
	switch {
	case c.State == local.CallRinging && c.Direction == local.DirectionIn:
		s = "is calling (" + offerText(c) + "); answer with: secmsg call answer " + c.ID
	case c.Missed:
		s = "missed call (" + offerText(c) + ")"
	default:
		s = "call " + callState(c)
	}
	if c.Text != "" {
		s += ": " + oneLine(c.Text)
	}
	return s
}

// offerText names the media that the caller offers.
func offerText(c *local.Call) string {
	switch {
	case c.Audio && c.Video:
		return "audio and video"
	case c.Video:
		return "video"
	case c.Audio:
		return "audio"
	}
	return "no media"
}

// callState is a state with its details: ended (hangup) after 12.3s.
func callState(c *local.Call) string {
	s := c.State
	if c.State == local.CallEnded && c.Reason != "" {
		s += " (" + c.Reason + ")"
	}
	if c.State == local.CallEnded && c.Duration > 0 {
		s += " after " + secondsText(c.Duration)
	}
	if c.Stats != nil && (c.State != local.CallEnded || c.Duration > 0) {
		s += ", " + statsText(c.Stats)
	}
	return s
}

// secondsText formats a number of seconds for a person. Zero is empty.
func secondsText(s float64) string {
	if s <= 0 {
		return ""
	}
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond).String()
}

// statsText formats the statistics of a call: relay, 23 ms, audio in opus 32 kbit/s
// 1200 packets.
func statsText(s *local.CallStats) string {
	if s == nil {
		return ""
	}
	var parts []string
	if s.Pair != "" {
		parts = append(parts, s.Pair)
	}
	if s.RoundTripMS > 0 {
		parts = append(parts, fmt.Sprintf("%.0f ms", s.RoundTripMS))
	}
	for _, d := range []struct {
		name string
		s    *local.CallStream
	}{{"audio in", s.AudioIn}, {"video in", s.VideoIn}, {"audio out", s.AudioOut}, {"video out", s.VideoOut}} {
		if d.s != nil {
			parts = append(parts, d.name+" "+streamText(d.s))
		}
	}
	return strings.Join(parts, ", ")
}

// streamText formats one direction: opus 32 kbit/s 1200 packets 3 lost.
func streamText(s *local.CallStream) string {
	text := fmt.Sprintf("%s %d kbit/s %d packets", s.Codec, s.BitRate/1000, s.Packets)
	if s.Lost > 0 {
		text += fmt.Sprintf(" %d lost", s.Lost)
	}
	if s.Refused > 0 {
		text += fmt.Sprintf(" %d refused", s.Refused)
	}
	if s.Muted {
		text += " muted"
	}
	return text
}
