"""The workflow of the demo: it looks up an invented customer in many registers, and opens an account."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow

REGISTERS = 50


@dataclass
class Customer:
    """A customer who does not exist."""

    name: str
    email: str
    passport: str

    @classmethod
    def invent(cls) -> Customer:
        """Invent a customer with a name that occurs nowhere else."""
        mark = secrets.token_hex(8)
        return cls(f"Marigold Quill {mark}", f"marigold.{mark}@example.com", f"X{mark.upper()}")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What only the customer and the workflow should see."""
        return self.name, self.email, self.passport


@activity.defn
async def look_up(customer: Customer, register: int, reason: str) -> str:
    """Pretend to look up the customer."""
    return f"{customer.name}, passport {customer.passport}: nothing in register {register} ({reason})"


@workflow.defn
class OpenAccount:
    """Opens an account for a customer whom no register knows."""

    @workflow.run
    async def run(self, customer: Customer) -> str:
        """Look up the customer everywhere, and return the message to the customer."""
        findings = await asyncio.gather(*(self._look_up(customer, register) for register in range(REGISTERS)))
        return f"Welcome, {customer.name}! {len(findings)} registers know nothing of you."

    async def _look_up(self, customer: Customer, register: int) -> str:
        return await workflow.execute_activity(
            look_up,
            args=[customer, register, f"{customer.email} asks for an account"],
            start_to_close_timeout=timedelta(seconds=30),
        )
