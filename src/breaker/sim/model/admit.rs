//! Asking the model: may a request go?
//!
//! Enters: when it is asked, by which core, and what the breaker answered. Leaves: the states in
//! which the text allows that answer.

use super::*;

impl Model {
    pub(super) fn admit(
        mut self,
        (policy, now, rivals): (&Policy, u64, usize),
        id: u32,
        core: usize,
        answer: Answer,
    ) -> Vec<Self> {
        let order = self.looked.remove(&id).unwrap();
        if let Some((Forced::Open, until)) = order {
            let refused = Answer::Refused(Reason::Override, until.map(|until| until - now));
            return if answer == refused { vec![self] } else { Vec::new() };
        }
        if policy.mode == Mode::Off {
            return self.admitted(id, now, Kind::Nothing, answer);
        }
        if self.due(policy, now).is_some() {
            // Time has to move it first.
            return Vec::new();
        }
        let spared = order.is_some() || policy.mode == Mode::Shadow;
        let refuse = |model: Self, reason, remaining| {
            if spared {
                return model.admitted(id, now, Kind::Bystander, answer);
            }
            let refused = Answer::Refused(reason, Some(remaining));
            if answer == refused { vec![model] } else { Vec::new() }
        };
        match self.state {
            State::Closed => self.admitted(id, now, Kind::Traffic, answer),
            State::Open => {
                let remaining = self.open_until(policy) - now;
                refuse(self, Reason::Open, remaining)
            }
            State::HalfOpen => {
                let recovery = policy.recovery().unwrap();
                let given = self.permit(recovery, now, id);
                let refused = refuse(self, Reason::HalfOpen, 0);
                // A rival may hold a permit for a moment, find its round over, and give it back.
                if given.is_empty() || (rivals > 0 && !refused.is_empty()) {
                    return refused;
                }
                given.into_iter().flat_map(|it| it.admitted(id, now, Kind::Probe, answer)).collect()
            }
            State::Recovering => {
                let share = self.share(policy, now);
                let sums = &mut self.ramp[core];
                sums.0 += u64::from(share.0);
                let goes = matches!(answer, Answer::Admitted(Kind::Traffic));
                sums.1 += u64::from(goes);
                // Never more than one request from the curve.
                if sums.0.abs_diff(sums.1 * 1_000_000) > 1_000_000 {
                    return Vec::new();
                }
                if goes {
                    self.admitted(id, now, Kind::Traffic, answer)
                } else {
                    refuse(self, Reason::Ramp, 0)
                }
            }
        }
    }

    fn admitted(mut self, id: u32, now: u64, kind: Kind, answer: Answer) -> Vec<Self> {
        if answer != Answer::Admitted(kind) {
            return Vec::new();
        }
        self.tickets.insert(id, Held { epoch: self.epoch, kind, begun: now });
        vec![self]
    }

    /// Each way to give a permit, if there is one to give.
    fn permit(&self, recovery: &Recovery, now: u64, ticket: u32) -> Vec<Self> {
        let lost = |permit: &Permit| !permit.done && now >= permit.lost_at;
        let lost_at = now + millis(recovery.permit);
        let permit = Permit { ticket, lost_at, done: false };
        let mut base = self.clone();
        let mut ways = Vec::new();
        // A round that was larger has places that a lost permit does not give up.
        let wide = self.widest.max(recovery.requests.get());
        base.widest = wide;
        let busy = self.permits.iter().filter(|permit| !lost(permit)).count();
        let free = self.permits.len() < wide as usize;
        if free && busy < recovery.requests.get() as usize {
            let mut way = base.clone();
            way.since = way.since.max(now);
            way.permits.push(permit);
            ways.push(way);
        }
        if busy < recovery.requests.get() as usize {
            for (nth, _) in self.permits.iter().enumerate().filter(|(_, it)| lost(it)) {
                let mut way = base.clone();
                way.permits[nth] = permit;
                ways.push(way);
            }
        }
        ways
    }
}
