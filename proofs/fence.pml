/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fence: after the answer to an INVALIDATE, nothing is read or written under the translation that it took away.
 *
 * A guest maps pages, lends them to a device by requests, and takes them back. Its front-end answers misses and sends INVALIDATEs; what is
 * taken back belongs to somebody else from the answer on. A back-end keeps an IOTLB, requests that wait for translations, one that the
 * device had no room for, requests in an engine which touches their pages whenever it likes, and a pointer to the ring's own page.
 * Requests, misses, answers and messages meet in every order.
 *
 * What is left out: rights, ranges of several pages, more queues than one, answers to UPDATEs (they carry nothing), and lies.
 * What the code does within one turn of its loop is one step here; another thread's or process's steps fall in between.
 *
 * Each safeguard has a name by which proofs/run switches it off, to see that the model then finds what it is there for.
 *
 * How the whole is cut, so that all of it can be looked at:
 * ONE_PAGE: both requests use page A. STILL_RING: the ring's page stays mapped. SPARE: B is mapped and unmapped though nobody uses it.
 * TWO_FRAMES: a page comes back in another frame. EAGER: the front-end may send an UPDATE when it maps.
 * EVICT: the IOTLB forgets any entry at any time. RESTART: the ring is stopped (GET_VRING_BASE) and started again.
 * HONEST: the guest takes a page back only when no request uses it. Then no request is refused.
 * ANSWERED, ENDED: what comes in the end, whatever others do. Without either: that nothing is owed when nothing more can happen.
 */

#define RING 0 /* pages, by their I/O virtual address: the ring's, and two of data */
#define A 1
#define B 2
#define PAGES 3
#define NOPAGE 3
#define NONE 2 /* a page lies in frame 0 or 1 of its own, or in none */

mtype = { UPDATE, INVALIDATE, STOP, START, ACK, BASE };
mtype = { FREE, OFFERED, WAIT, PARKED, TAKEN, REAPED, DONE };
mtype = { NOT, ASKED, SURELY, REFUSED };
mtype = { RUN, STOPPING, STOPPED };

/* ------------------------------------------------------------------ memory, and who has it */

bool lent[6]; /* frame 2 * page + 0 or 1 is the device's to touch; else it is somebody else's */

inline touch(page, frame)
{
    assert(frame != NONE && lent[2 * page + frame]); /* nothing under a translation whose end was answered */
}

/* ------------------------------------------------------------------ between the two ends */

#define room(q, size) (len(q) < size)
#define some(q) (len(q) > 0)
chan messages = [2] of { mtype, byte, byte }; /* the main channel: front-end to back-end */
chan answers = [2] of { mtype };              /* its other direction */
chan misses = [1] of { byte, bool };          /* the back-end's requests: a page; must there be an answer? */
chan verdicts = [1] of { byte };              /* their answers: the front-end is through with this page, yes or no */

/* ------------------------------------------------------------------ front-end and guest */

byte table[PAGES] = NONE; /* the front-end's: where each page lies */
bit next[PAGES];          /* the frame that it gets at the next mapping */
byte leaving = NOPAGE;    /* being invalidated */
byte left;                /* the frame that it had */
mtype vring = STOPPED;

/* ------------------------------------------------------------------ back-end */

byte tlb[PAGES] = NONE;
mtype miss[PAGES] = NOT;
bool due; /* a verdict is still to come: for one question at a time */
byte fence = NOPAGE;
bool running, stopping, broken;
bool known; /* the pointer to the ring is of the IOTLB's generation */
byte ring = NONE;

typedef request {
    mtype state = FREE;
    byte at[PAGES] = NONE; /* what its addresses resolved to */
    bool stale;            /* one of these is gone from the IOTLB */
    bool pinned;           /* one that was popped later was taken by the device */
};
request req[2];
bit popped; /* the last one that was */

#ifdef ONE_PAGE
#define uses(r, p) ((p) == A)
#else
#define uses(r, p) ((p) == A || ((p) == B && (r) == 1))
#endif
#define held(r) (req[r].state == TAKEN || req[r].state == REAPED)
#define inside(r) (req[r].state != FREE && req[r].state != OFFERED)
#define waits(r, p) (req[r].state == WAIT && uses(r, p))
#define wanted(p) ((p) == RING && running && !broken || waits(0, p) || waits(1, p))

#ifdef HONEST
#define honest true
#define idle(r, p) (req[r].state == FREE || (p) != RING && !uses(r, p))
#define may_unmap(p) (idle(0, p) && idle(1, p) && ((p) != RING || vring == STOPPED))
#define may_start (table[RING] != NONE)
#define may_offer(r) (table[RING] != NONE && table[A] != NONE && (!uses(r, B) || table[B] != NONE))
#else
#define honest false
#define may_unmap(p) true
#define may_start true
#define may_offer(r) true
#endif

/* ------------------------------------------------------------------ what the front-end does */

inline map(p)
{
    atomic {
        table[p] == NONE && leaving != p ->
        lent[2 * p + next[p]] = true;
        table[p] = next[p];
#ifdef TWO_FRAMES
        next[p] = 1 - next[p];
#endif
        if
        :: true
#ifdef EAGER
        :: room(messages, 2) -> messages!UPDATE, p, table[p]
#endif
        fi
    }
}

inline unmap(p)
{
    atomic {
        table[p] != NONE && leaving == NOPAGE && room(messages, 2) && may_unmap(p) ->
        leaving = p;
        left = table[p];
#ifndef TABLE_LATE /* a miss that is asked for while the INVALIDATE is out must not be answered with what it takes away */
        table[p] = NONE;
#endif
        messages!INVALIDATE, p, 0
    }
}

inline offer(r)
{
    atomic { req[r].state == FREE && !broken && may_offer(r) -> req[r].state = OFFERED }
}

active proctype guest()
{
    do
    :: map(RING)
#if !defined(ONE_PAGE) || defined(SPARE)
    :: map(B)
    :: unmap(B)
#endif
    :: map(A)
    :: unmap(A)
#ifndef STILL_RING
    :: unmap(RING)
#endif
    :: offer(0)
    :: offer(1)
    :: atomic { vring == STOPPED && room(messages, 2) && may_start -> vring = RUN; messages!START, 0, 0 }
#ifdef RESTART
    :: atomic { vring == RUN && room(messages, 2) -> vring = STOPPING; messages!STOP, 0, 0 }
#endif
    :: break /* it wants no more of us */
    od
}

#ifdef NO_SERVE /* who waits for the ring to stop must answer misses: a request that can't be put back needs them */
#define front_serves (vring != STOPPING)
#else
#define front_serves true
#endif

active proctype front_misses()
{
    byte p;
    bool must;
end:
    do
    :: atomic {
        some(misses) && room(messages, 2) && room(verdicts, 1) && front_serves ->
        misses?p, must;
        if
        :: table[p] != NONE -> messages!UPDATE, p, table[p]
        :: else
        fi;
        if
        :: must -> verdicts!p
        :: else /* where there is no translation, it need not say so */
        fi;
        p = 0;
        must = false
    }
    od
}

active proctype front_answers()
{
end:
    do
    :: atomic {
        answers?ACK ->
        lent[2 * leaving + left] = false; /* somebody else's from here on */
        table[leaving] = NONE;
        leaving = NOPAGE;
        left = 0
    }
    :: atomic { answers?BASE -> vring = STOPPED }
    od
}

/* ------------------------------------------------------------------ what the back-end does: translations */

inline remove(p)
{
    if
    :: tlb[p] != NONE ->
        tlb[p] = NONE;
#ifndef STALE_RING /* the generation changes, and with it the ring's pointer is to be found again */
        known = false
#endif
    :: else
    fi
}

inline ask(p)
{
    if
    :: tlb[p] == NONE && miss[p] == NOT && room(misses, 1) -> misses!p, false; miss[p] = ASKED
    :: !(tlb[p] == NONE && miss[p] == NOT && room(misses, 1))
    fi
}

/* A refusal is kept for those who wait for it, and no longer. */
inline forget(p)
{
    if
    :: miss[p] == REFUSED && !wanted(p) -> miss[p] = NOT
    :: else
    fi
}

inline mark(r, p)
{
    if
    :: uses(r, p) && (held(r) || req[r].state == PARKED) -> req[r].stale = true
    :: else
    fi
}

#ifdef NO_NESTED /* translations must come in while the ring is being stopped */
#define back_serves (!stopping)
#else
#define back_serves true
#endif

active proctype back_messages()
{
    byte p, f;
end:
    do
    :: atomic {
        some(messages) && fence == NOPAGE && back_serves ->
        if
        :: messages?UPDATE, p, f ->
            if
            :: tlb[p] != f -> remove(p); tlb[p] = f
            :: else
            fi;
            miss[p] = NOT
        :: messages?INVALIDATE, p, _ ->
            fence = p;
#ifdef TRUST_CACHE /* what was evicted may be in use all the same */
            if
            :: tlb[p] != NONE -> mark(0, p); mark(1, p)
            :: else
            fi;
#else
            mark(0, p);
            mark(1, p);
#endif
#ifndef REMOVE_AFTER /* first nothing new may begin, then what has begun is waited for */
            remove(p)
#endif
        :: messages?START, _, _ -> running = true; broken = false
        :: messages?STOP, _, _ -> stopping = true
        fi;
        p = 0;
        f = 0
    }
    od
}

#ifdef NO_WAIT /* what the device holds may be touched until it has ended */
#define fence_waits false
#else
#ifdef WAIT_FOR_ALL /* those that wait for a translation touch nothing, and theirs may come behind the INVALIDATE */
#define fence_waits (inside(0) || inside(1))
#else
#ifdef WAIT_FOR_NEW /* those that came later have another translation, and there may always be one */
#define fence_waits (held(0) || held(1))
#else
#define fence_waits (held(0) && req[0].stale || held(1) && req[1].stale)
#endif
#endif
#endif

active proctype back_fence()
{
end:
    do
    :: atomic {
        fence != NOPAGE && !(fence_waits) && room(answers, 2) ->
#ifdef REMOVE_AFTER
        remove(fence);
#endif
        fence = NOPAGE;
        answers!ACK
    }
    od
}

inline ask_again(p)
{
    atomic { miss[p] == ASKED && room(misses, 1) && !due -> misses!p, true; due = true; miss[p] = SURELY }
}

#ifdef NO_DRAIN /* an UPDATE that was sent before a verdict comes by another way, perhaps later */
#define drained true
#else
#define drained (len(messages) == 0 && fence == NOPAGE)
#endif
#ifdef OLD_NO /* a verdict is on the question that it answers, and not on what was asked since */
#define condemned(p) (miss[p] != NOT)
#else
#define condemned(p) (miss[p] == SURELY)
#endif

active proctype back_misses()
{
    byte p;
end:
    do
#ifndef NO_AGAIN /* silence is no answer */
    :: ask_again(RING)
    :: ask_again(A)
    :: ask_again(B)
#endif
    :: atomic {
        len(verdicts) > 0 && drained ->
        verdicts?p;
        due = false;
        if
        :: condemned(p) -> miss[p] = REFUSED; forget(p)
        :: else
        fi;
        p = 0
    }
    od
}

#ifdef EVICT
inline evict(p)
{
    atomic {
        tlb[p] != NONE ->
#ifdef QUIET_EVICTION /* a pointer that came from an entry must not outlive it: its INVALIDATE will not find it */
        tlb[p] = NONE
#else
        remove(p)
#endif
    }
}

active proctype back_evict()
{
end:
    do
    :: evict(RING)
    :: evict(A)
    :: evict(B)
    od
}
#endif

/* ------------------------------------------------------------------ what the back-end does: the ring */

active proctype back_ring()
{
end:
    do
    :: atomic { running && !broken && !known && tlb[RING] != NONE -> ring = tlb[RING]; known = true; touch(RING, ring) }
    :: atomic { running && !broken && !known && tlb[RING] == NONE && miss[RING] == NOT && room(misses, 1) -> ask(RING) }
    :: atomic { running && !broken && !known && tlb[RING] == NONE && miss[RING] == REFUSED ->
        assert(!honest);
        broken = true;
        forget(RING)
    }
    :: atomic {
        stopping && !inside(0) && !inside(1) && room(answers, 2) ->
        stopping = false;
        running = false;
        known = false;
        ring = NONE;
        miss[RING] = NOT;
        miss[A] = NOT;
        miss[B] = NOT;
        answers!BASE
    }
    od
}

/* ------------------------------------------------------------------ what the back-end does: a request */

#define absent(r, p) (uses(r, p) && req[r].at[p] == NONE)
#define worth(r, p) (tlb[p] != NONE || miss[p] == REFUSED || miss[p] == NOT && room(misses, 1))

inline look(r, p)
{
    if
#ifdef KEPT /* what resolved before the wait may be gone after it */
    :: uses(r, p) && req[r].at[p] == NONE -> req[r].at[p] = tlb[p]
#else
    :: uses(r, p) -> req[r].at[p] = tlb[p]
#endif
    :: else
    fi
}

inline clear(r)
{
    req[r].at[A] = NONE;
    req[r].at[B] = NONE;
    req[r].stale = false
}

inline submit(r)
{
    touch(A, req[r].at[A]); /* its header */
    if
    :: held(1 - r) -> req[r].state = PARKED
    :: true ->
        req[r].state = TAKEN;
        if
        :: inside(1 - r) && popped == r -> req[1 - r].pinned = true
        :: else
        fi
    fi
}

inline translate(r)
{
    req[r].stale = false;
    look(r, A);
    look(r, B);
    if
    :: absent(r, A) && miss[A] == REFUSED || absent(r, B) && miss[B] == REFUSED ->
        assert(!honest); /* an honest driver's request is never refused */
        req[r].state = DONE;
        clear(r);
        forget(A);
        forget(B)
    :: else ->
        if
        :: absent(r, A) || absent(r, B) ->
            ask(A);
            if
            :: uses(r, B) -> ask(B)
            :: else
            fi;
            req[r].state = WAIT;
#ifndef KEPT
            clear(r)
#endif
        :: else -> submit(r)
        fi
    fi
}

#define must_look(r) (worth(r, A) && (!uses(r, B) || worth(r, B)))
#define may_go_back(r) (!req[r].pinned && (!inside(1 - r) || popped == r))

proctype pump(bit r)
{
end:
    do
    :: atomic {
        req[r].state == OFFERED && running && !stopping && !broken && known && req[1 - r].state != PARKED ->
        touch(RING, ring);
        popped = r;
        translate(r)
    }
    :: atomic { req[r].state == WAIT && !broken && must_look(r) && req[1 - r].state != PARKED -> translate(r) }
    :: atomic { req[r].state == WAIT && (broken || stopping && may_go_back(r)) ->
        if
        :: broken -> req[r].state = FREE
        :: else -> req[r].state = OFFERED
        fi;
        req[r].pinned = false;
        clear(r);
        forget(A);
        forget(B)
    }
    :: atomic { req[r].state == PARKED && !held(1 - r) ->
        if
        :: broken -> req[r].state = FREE; req[r].pinned = false; clear(r)
#ifndef PARKED_STALE /* a request that lies around is translated anew */
        :: !broken && req[r].stale -> translate(r)
        :: !broken && !req[r].stale -> submit(r)
#else
        :: !broken -> submit(r)
#endif
        fi
    }
    :: atomic { req[r].state == REAPED -> req[r].state = DONE; clear(r) }
    :: atomic { req[r].state == DONE && (broken || known) ->
        if
        :: broken
        :: else -> touch(RING, ring)
        fi;
        req[r].state = FREE;
        req[r].pinned = false
    }
    od
}

/* The kernel, working on a request that the device took: it touches the pages at any time before it says that it has ended. */
proctype engine(bit r)
{
end:
    do
    :: atomic {
        req[r].state == TAKEN ->
        touch(A, req[r].at[A]);
        if
        :: uses(r, B) -> touch(B, req[r].at[B])
        :: else
        fi;
        req[r].state = REAPED
    }
    od
}

/* ------------------------------------------------------------------ what must hold */

#define served(r) (req[r].state == FREE || req[r].state == OFFERED && (broken || vring == STOPPED))

init
{
    atomic { run pump(0); run pump(1); run engine(0); run engine(1) }
end:
    timeout ->
    assert(leaving == NOPAGE && vring != STOPPING); /* what was sent was answered */
    assert(served(0) && served(1)) /* what was offered has ended */
}

#ifdef ANSWERED
ltl answered { [] (leaving != NOPAGE -> <> (leaving == NOPAGE)) }
#endif
#ifdef ENDED
ltl ended { [] (req[0].state == OFFERED -> <> (req[0].state == FREE || vring != RUN)) }
#endif
