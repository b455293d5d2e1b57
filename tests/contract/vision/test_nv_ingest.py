"""nv-ingest-api's model interfaces and NimClient, over HTTP and gRPC."""

from __future__ import annotations

import numpy as np
import pytest
from nv_ingest_api.internal.primitives.nim.model_interface.helpers import get_model_name, is_ready
from nv_ingest_api.internal.primitives.nim.model_interface.ocr import NemoRetrieverOCRModelInterface, get_ocr_model_name
from nv_ingest_api.internal.primitives.nim.model_interface.yolox import (
    YOLOX_GRAPHIC_CLASS_LABELS,
    YoloxGraphicElementsModelInterface,
    YoloxPageElementsModelInterface,
    YoloxTableStructureModelInterface,
    get_yolox_model_name,
    get_yolox_page_version,
)
from nv_ingest_api.util.image_processing.table_and_chart import (
    join_yolox_graphic_elements_and_ocr_output,
    join_yolox_table_structure_and_ocr_output,
)
from nv_ingest_api.util.nim import create_inference_client
from services import CELLS, base64_png, chart, page, table

PROTOCOLS = ("http", "grpc")


def client(endpoint, interface, protocol):
    return create_inference_client((endpoint.grpc, f"{endpoint.http}/v1/infer"), interface, infer_protocol=protocol,
                                   max_retries=2)


def detect(endpoint, interface, protocol, pictures):
    return client(endpoint, interface, protocol).infer(
        {"images": pictures}, model_name="yolox_ensemble", max_batch_size=8, input_names=["INPUT_IMAGES", "THRESHOLDS"],
        dtypes=["BYTES", "FP32"], output_names=["OUTPUT"], stage_name="test",
    )


def read(endpoint, protocol, pictures, level):
    return client(endpoint, NemoRetrieverOCRModelInterface(), protocol).infer(
        {"base64_images": [base64_png(picture) for picture in pictures]}, model_name="scene_text_ensemble",
        input_names=["INPUT_IMAGE_URLS", "MERGE_LEVELS"], output_names=["OUTPUT"], dtypes=["BYTES", "BYTES"],
        merge_level=level, stage_name="test",
    )


def test_readiness_names_and_versions(vision):
    for task, endpoint in vision.items():
        assert is_ready(endpoint.http, "/v1/health/ready")
        assert get_model_name(endpoint.http, "none").startswith(task)
    assert get_yolox_page_version(vision["page-elements"].http) == "page-elements-v3"
    assert get_yolox_model_name(vision["page-elements"].grpc) == "yolox_ensemble"
    assert get_ocr_model_name(vision["ocr"].grpc) == "scene_text_ensemble"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_page_elements(vision, protocol):
    endpoint = vision["page-elements"]
    interface = YoloxPageElementsModelInterface(version=get_yolox_page_version(endpoint.http),
                                                endpoints=(endpoint.grpc, endpoint.http))
    first, second = detect(endpoint, interface, protocol, [page(), page()])
    assert first == second
    [found] = first["table"]
    assert np.allclose(found[:4], (80, 340, 680, 540), atol=60)  # the client widens tables
    assert first["paragraph"] or first["title"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_table_structure_joins_with_ocr_to_the_cells(vision, protocol):
    picture = table()
    interface = YoloxTableStructureModelInterface(endpoints=(vision["table-structure"].grpc, None))
    [found] = detect(vision["table-structure"], interface, protocol, [picture])
    assert len(found["row"]) == len(CELLS)
    assert len(found["column"]) == len(CELLS[0])
    [(boxes, texts, _)] = read(vision["ocr"], protocol, [picture], "word")
    markdown = join_yolox_table_structure_and_ocr_output(found, boxes, texts)
    for row in CELLS:
        assert "| " + " | ".join(row) + " |" in markdown


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_graphic_elements_join_with_ocr_to_the_texts(vision, protocol):
    picture = chart()
    interface = YoloxGraphicElementsModelInterface(endpoints=(vision["graphic-elements"].grpc, None))
    [found] = detect(vision["graphic-elements"], interface, protocol, [picture])
    assert {*found} <= {*YOLOX_GRAPHIC_CLASS_LABELS}
    [(boxes, texts, _)] = read(vision["ocr"], protocol, [picture], "sentence")
    joined = join_yolox_graphic_elements_and_ocr_output(found, boxes, texts)
    assert joined["chart_title"] == "Passengers 2024"
    assert joined["xlabel"].split(" - ") == ["Jan", "Feb", "Mar", "Apr"]
    assert joined["x_title"] == "Month"
    assert {"100", "200", "300", "400"} <= {*joined["ylabel"].split(" - ")}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("level", ["word", "sentence", "paragraph"])
def test_ocr(vision, protocol, level):
    [(boxes, texts, scores)] = read(vision["ocr"], protocol, [page()], level)
    said = " ".join(texts)
    assert "Ferry timetable and fares" in said
    assert "Bicycles travel free of charge from May to September." in said
    assert len(boxes) == len(texts) == len(scores)
    assert ("Ferry" in texts) == (level == "word")
    assert max(point[0] for box in boxes for point in box) > 400


def test_a_fault_is_told_and_not_tried_again(vision):
    interface = YoloxPageElementsModelInterface(version="v3-v3")
    with pytest.raises(RuntimeError, match="422"):
        client(vision["page-elements"], interface, "http").infer(
            {"images": [np.zeros((2, 2, 3), np.uint8)]}, model_name="yolox", stage_name="test")


@pytest.mark.skip(reason="nemo-retriever 26.8.2 needs Python 3.12, and no such interpreter is here")
def test_nemo_retriever():
    """Its vision client posts the same body to /v1/page-elements, /v1/table-structure and /v1/ocr."""
