"""The Discord bot: so far the extension that lets a bot record.

`await bot.load_extension("discord_recorder.bot")` attaches a discord.py bot to the services that it was given to by
`services.attach(bot)`, else to those of `get_services_manager()`, and starts them, which finishes what a crash left.
When it is unloaded, or the bot is closed, the channels are left and their meetings finished. The services stay open,
for whoever else uses them.

Discord's own address is used unless the setting `discord_api_url` names another one; then the extension has to be
loaded before the bot logs in.
"""

from typing import TYPE_CHECKING

from discord_recorder.services.manager import ServicesManager, get_services_manager

if TYPE_CHECKING:
    import discord


async def setup(bot: "discord.Client") -> None:
    """Attach a bot; raises what `ServicesManager.attach` and `ServicesManager.start` raise."""
    services = ServicesManager.attached_to(bot)
    if services is None:
        services = get_services_manager()
        services.attach(bot)
    await services.start()


async def teardown(bot: "discord.Client") -> None:
    """Stop what the bot records, and detach it."""
    services = ServicesManager.attached_to(bot)
    if services is not None:
        await services.detach()
