"""The account under whatever order of calls: what is noted as promised is never less than what is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from endpoint_kit import Endpoint, hit_values

from kloc.crowd.endpoint.database import Database
from kloc.crowd.endpoint.money import to_cents
from kloc.crowd.endpoint.tables import Meta

BALANCE = 3000


class Walk:
    """Random calls of a requester and two workers; every one may be refused."""

    def __init__(self, endpoint: Endpoint, seed: int) -> None:
        self.mturk, self.endpoint, self.chance = endpoint.mturk, endpoint, random.Random(seed)
        self.people = [endpoint.person() for _ in range(2)]
        self.hits: list[str] = [endpoint.hit(MaxAssignments=2)]
        self.leases: list[tuple[str, str]] = []
        self.types = [
            self.mturk.create_hit_type(**{k: v for k, v in hit_values(Reward=reward).items() if k in COMMON})[
                "HITTypeId"
            ]
            for reward in ("0.10", "0.80")
        ]
        self.refused: Counter[str] = Counter()

    def step(self) -> None:
        hit_id, (worker_id, lease) = self.chance.choice(self.hits), self.chance.choice(self.leases or [("A1", "3A")])
        cents = f"{self.chance.randint(1, 400) / 100:.2f}"
        moment = self.endpoint.clock() + self.chance.choice((-1, 500, 5000))
        bonus = {"WorkerId": worker_id, "AssignmentId": lease, "BonusAmount": cents, "Reason": "r"}
        calls: list[Callable[[], Any]] = [
            partial(self.create, cents),
            partial(self.take, hit_id),
            partial(self.take, hit_id),
            partial(self.people[0].submit, lease, a="1"),
            partial(self.people[0].submit, lease, a="1"),
            partial(self.mturk.update_expiration_for_hit, HITId=hit_id, ExpireAt=moment),
            partial(self.mturk.create_additional_assignments_for_hit, HITId=hit_id, NumberOfAdditionalAssignments=1),
            partial(self.mturk.update_hit_type_of_hit, HITId=hit_id, HITTypeId=self.chance.choice(self.types)),
            partial(self.mturk.approve_assignment, AssignmentId=lease, OverrideRejection=True),
            partial(self.mturk.reject_assignment, AssignmentId=lease, RequesterFeedback="r"),
            partial(self.mturk.send_bonus, **bonus),
            partial(self.pass_time, self.chance.choice((60, 601, 3601))),
        ]
        call = self.chance.choice(calls)
        try:
            call()
        except ClientError as error:
            self.refused[str(error.response["TurkErrorCode"]).rpartition(".")[2]] += 1

    def create(self, reward: str) -> None:
        self.hits.append(self.endpoint.hit(Reward=reward, MaxAssignments=self.chance.randint(1, 3)))

    def take(self, hit_id: str) -> None:
        person = self.chance.choice(self.people)
        answer = person.accept(hit_id)
        if answer.status_code == 200:
            self.leases.append((person.id, answer.json()["assignment_id"]))

    def pass_time(self, seconds: float) -> None:
        self.endpoint.clock.ahead += seconds


COMMON = ("Title", "Description", "Reward", "AssignmentDurationInSeconds", "AutoApprovalDelayInSeconds")


@pytest.mark.parametrize("seed", [1, 2])
def test_never_more_than_there_is(start: Callable[..., Endpoint], tmp_path: Path, seed: int) -> None:
    endpoint = start(balance=f"{BALANCE / 100:.2f}")
    walk = Walk(endpoint, seed)
    database = Database(endpoint.settings.database_url)
    counted = 0
    for _ in range(150):
        walk.step()
        account = endpoint.mturk.get_account_balance()
        left = to_cents(account["AvailableBalance"])
        assert left is not None
        with database.read() as session:
            noted = int(session.get_one(Meta, "account").value)
        assert BALANCE - left <= noted <= BALANCE
        counted += noted == BALANCE - left
    database.close()
    assert walk.refused["InsufficientFunds"] > 5
    assert counted < 150  # most of the time nobody counts everything
