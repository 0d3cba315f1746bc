from __future__ import annotations


def test_instant(api):
    api.storage.add({"__name__": "up", "job": 'a"<'}, {1000: 1.5})
    r = api.ask("GET", "/api/v1/query?query=up&time=1.5")
    assert r.text == (
        '{"status":"success","data":{"resultType":"vector","result":['
        '{"metric":{"__name__":"up","job":"a\\"<"},"value":[1.500,"1.5"]}]}}'
    )
